"""Writes slot-v1.bin, table-v1.bin and table-v2.bin from the layouts in src/slot.rs and src/table.rs, independently of our code: python3 golden.py"""
import hashlib, hmac, struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def hkdf(salt, key, info):
    prk = hmac.new(salt, key, hashlib.sha512).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha512).digest()[:32]


def field(content):
    return struct.pack(">I", len(content)) + content


slot_id, cluster = bytes([0x11]) * 16, bytes([0x22]) * 16
master, slot_key = bytes([0x4D]) * 32, bytes([0x42]) * 32
header = (b"SRS1" + struct.pack(">HB", 1, 1) + slot_id + cluster + struct.pack(">IQq", 1, 1, 1_700_000_000_123)
          + field(b"primary") + field(b"hsm-a"))
parameters = field(b"0123456789abcdef") + field(b"slot-key") + field(b"\x51") + b"\x01" + bytes([7]) * 12
before = header + field(parameters) + field(bytes([0xC3]) * 48) + struct.pack(">H", 1)
kcv = hkdf(cluster, master, b"strongroom/mk/kcv/1")
after = kcv + field(bytes([2, 2]) + bytes([0xA1]) * 32 + bytes([0xA2]) * 32) + bytes(32)
sealed = AESGCM(hkdf(slot_id, slot_key, b"strongroom/slot/mk/1")).encrypt(bytes(12), master, before + after)
slot = before + sealed + after
open("slot-v1.bin", "wb").write(slot)

entries = slot_id + hashlib.sha256(slot).digest() + bytes([0x33]) * 16 + bytes([0x44]) * 32
table = b"SRT1" + struct.pack(">HB", 1, 2) + entries
mac_key = hkdf(cluster, bytes([0x1C]) * 32, b"strongroom/ik/slots/1")
open("table-v1.bin", "wb").write(table + hmac.new(mac_key, table, hashlib.sha256).digest())

table = b"SRT1" + struct.pack(">HB", 2, 2) + entries + b"\x01" + bytes([0x55]) * 16 + bytes([0x66]) * 32
open("table-v2.bin", "wb").write(table + hmac.new(mac_key, table, hashlib.sha256).digest())
