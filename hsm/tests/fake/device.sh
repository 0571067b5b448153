#!/bin/sh
# A device process that misbehaves as FAKE says; descriptor 0 is the socket.
case "$FAKE" in
hang) exec /bin/cat >/dev/null ;;
crash) kill -SEGV $$ ;;
exit) exit 3 ;;
close) exec 0</dev/null; exec /bin/cat /dev/zero >/dev/null ;;
noise) printf 'HTTP/1.1 200 OK\r\n\r\n' >&0 ;;
huge-header) printf 'SRD1\377\377\377\377\000\000\000\000' >&0 ;;
huge-secret) printf 'SRD1\000\000\000\001\000\000\377\377\000' >&0 ;;
undecodable) printf 'SRD1\000\000\000\002\000\000\000\000\377\377' >&0 ;;
misfit) printf 'SRD1\000\000\000\002\000\000\000\000\000\001' >&0 ;;
secret-in-the-pins-place) printf 'SRD1\000\000\000\002\000\001\000\000\000\001x' >&0 ;;
cut) printf 'SRD1\000\000\000\002\000\000\000\040\000\003half a secret' >&0 ;;
lingers) printf 'SRD1\000\000\000\002\000\000\000\000\000\001' >&0; exec /bin/cat >/dev/null ;;
environment) [ "$(/usr/bin/env | /bin/grep -v -e '^_=' -e '^PWD=' -e '^OLDPWD=' -e '^SHLVL=' -e '^TSS2_LOG=all+none$')" = "FAKE=environment" ] && exit 42; exit 43 ;;
esac
