#!/bin/sh
# Writes NAME.tar.gz beside this script: a core and an edge as the programs in FOLDER leave them on disk, for tests/golden.rs, which opens each of these with
# today's programs. To be run once for each release, with its programs, e.g. out of its package; what is there is never written anew.
#
#   softhsm-test/tests/golden/make.sh NAME FOLDER
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=$1
PATH=$(cd "$2" && pwd):$PATH
[ ! -e "$here/$name.tar.gz" ] || { echo "$name.tar.gz is there already" >&2; exit 1; }

folder=$(mktemp -d)
strongroom dev --dir "$folder" --edges 1 2> "$folder/said" &
dev=$!
trap 'kill $dev 2> /dev/null || true; rm -r "$folder"' EXIT
tries=0
until [ -s "$folder/dev.env" ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { cat "$folder/said" >&2; exit 1; }
    sleep 0.1
done
set -a
. "$folder/dev.env"
set +a
mkdir "$folder/secrets"

# seal NODE ID ADDRESS: has a key encrypt its own identifier.
seal() {
    printf %s "$2" | KMIP_CORE=$3 strongroom kmip encrypt "$2" --mode gcm --in - --out "$folder/secrets/$1.$2"
}
as_admin() {
    strongroom --config "$CORE_CONFIG" --admin "$ADMIN_CORE" --admin-ca "$CA_CERT" --admin-cert "$TENANT_ADMIN_CERT" --admin-key "$TENANT_ADMIN_KEY" "$@"
}

# Under the first version of the service's key, then under the next ones: of the service, of its tenant, of the cluster.
seal core "$L3_ID" "$KMIP_CORE"
as_admin key rotate "$L3_ID"
next=$(strongroom kmip locate | head -n 1)
seal core "$next" "$KMIP_CORE"
as_admin key rotate "$(as_admin --json key list --layer L2 | grep -o 'L2-[0-9a-f-]*' | head -n 1)"
strongroom --config "$CORE_CONFIG" ivk rotate
strongroom --config "$CORE_CONFIG" tenant create initech
strongroom --config "$CORE_CONFIG" service create initech ledger
# Objects of the edge's own, of which one is replaced.
for object in first second; do
    id=$(KMIP_CORE=$KMIP_EDGE strongroom kmip create --name $object --activate)
    seal edge "$id" "$KMIP_EDGE"
done
id=$(KMIP_CORE=$KMIP_EDGE strongroom kmip rekey "$id")
seal edge "$id" "$KMIP_EDGE"
for node in "$CORE_CONFIG" "$EDGE_CONFIG"; do
    strongroom --config "$node" reencrypt status --watch
done

kill $dev
wait $dev
tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --exclude=strongroom.sock --directory "$folder" \
    core edge secrets softhsm/tokens softhsm/credentials | gzip --best --no-name > "$here/$name.tar.gz"
ls -l "$here/$name.tar.gz"
