"""Writes the slots of each kind, the texts of shards and the tables from the layouts in src, independently of our code: python3 golden.py"""
import base64, hashlib, hmac, json, struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def hkdf(salt, key, info):
    prk = hmac.new(salt, key, hashlib.sha512).digest()
    return hmac.new(prk, info + b"\x01", hashlib.sha512).digest()[:32]


def field(content):
    return struct.pack(">I", len(content)) + content


slot_id, cluster = bytes([0x11]) * 16, bytes([0x22]) * 16
master, slot_key = bytes([0x4D]) * 32, bytes([0x42]) * 32


def slot_of(number, custodian, parameters, protected, manifest_hash=bytes(32)):
    header = (b"SRS1" + struct.pack(">HB", 1, number) + slot_id + cluster + struct.pack(">IQq", 1, 1, 1_700_000_000_123)
              + field(b"primary") + field(custodian))
    before = header + field(parameters) + field(protected) + struct.pack(">H", 1)
    kcv = hkdf(cluster, master, b"strongroom/mk/kcv/1")
    after = kcv + field(bytes([2, 2]) + bytes([0xA1]) * 32 + bytes([0xA2]) * 32) + manifest_hash
    sealed = AESGCM(hkdf(slot_id, slot_key, b"strongroom/slot/mk/1")).encrypt(bytes(12), master, before + after)
    return before + sealed + after


# A token.
on_token = field(b"0123456789abcdef") + field(b"slot-key") + field(b"\x51") + b"\x01" + bytes([7]) * 12
slot = slot_of(1, b"hsm-a", on_token, bytes([0xC3]) * 48)
open("slot-v1.bin", "wb").write(slot)

# A TPM: the name of its root key, the release key, the policy, a PIN, the sealed object.
on_tpm = field(b"\x00\x0b" + bytes([0xE1]) * 32) + bytes([0xE2]) * 32 + bytes([0xE3]) * 32 + struct.pack(">IB", 3, 1) + field(bytes([0xE4]) * 90)
open("slot-tpm2-v1.bin", "wb").write(slot_of(2, b"tpm", on_tpm, bytes([0xE5]) * 120))


# Several keepers, of every kind. Two of their shards give the slot key back.
def times(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def shard(x):
    share = bytes(secret ^ times(0x5C, x) for secret in slot_key)
    return cluster + split_id + bytes([2, x]) + share


def text(x):
    packed = shard(x) + hashlib.sha3_256(shard(x)).digest()[:4]
    line = "SRSHARD1" + base64.b32encode(packed).decode()
    return "-".join(line[at:at + 8] for at in range(0, len(line), 8))


# RSA of 2048 bits, as SubjectPublicKeyInfo.
CARD = base64.b64decode(
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuayla9uy+G9IleGblgd0xttyvhX2DHeJ9MqL350TtbjzQPxw91LGBgyPGRaIK3i8yOCF+SyLb+Zy"
    "b8oCsLdrvUGl+0X2jVe2wd/sPxXxmS4n+InyfviNVsMcQ49bofEPejBSdGxJuxn1tmVom205bt1vHagsdbpphS27S0qBplqKrDeQDwUVDULBJ9/Tn/3M9Z7w"
    "U22aK3REUjEqJkC47zNlOxMrwp8Pw9Q55vl8vj8cUoHLHdyt/cZOP8eUNJchpq8PG1JQBkb/RjqSglFZur3DhUz8LUAvaNKJ2jNHOzNYBLBC4fltS1iH7IBm"
    "u0O+j7zjSeldPkQGZKj++KuroQIDAQAB"
)
split_id = bytes([0x51]) * 16
keepers = [
    (b"hsm-a", b"", 1, "pkcs11", on_token, bytes([0xC4]) * 82),
    (b"tpm", b"rack 2", 2, "tpm2", on_tpm, bytes([0xC5]) * 120),
    (b"anna", b"office, Berlin", 64, "age", bytes([0xA6]) * 32, bytes([0xC6]) * 366),
    (b"dora", b"pocket", 65, "card", b"\x01" + CARD, bytes([0xC7]) * 256),
    (b"emil", b"", 65, "card", b"\x02" + CARD, bytes([0xC8]) * 256),
]
split, protected, parts = split_id + bytes([2, len(keepers)]), b"", []
for x, (name, region, number, kind, parameters, kept) in enumerate(keepers, 1):
    digest = hashlib.sha3_256(shard(x)).digest()
    split += bytes([x]) + field(name) + field(region) + bytes([number]) + digest + field(parameters)
    protected += field(kept)
    parts.append({
        "point": x, "keeper": name.decode(), "region": region.decode() or None, "kind": kind,
        "key_sha256": hashlib.sha256(CARD if kind == "card" else parameters).hexdigest(),
        "protected_sha3_256": hashlib.sha3_256(kept).hexdigest(), "plain_sha3_256": digest.hex(),
    })
manifest = json.dumps({
    "format": 1, "cluster": "22222222-2222-2222-2222-222222222222", "slot": "11111111-1111-1111-1111-111111111111", "label": "primary",
    "masterkey_generation": 1, "created_millis": 1_700_000_000_123, "split": split_id.hex(), "threshold": 2, "shards": parts,
}, indent=2)
open("slot-shamir-v1.bin", "wb").write(slot_of(3, b"board", split, protected, hashlib.sha3_256(manifest.encode()).digest()))
open("manifest-v1.json", "w").write(manifest)
open("shards-v1.txt", "w").write("".join(text(x) + "\n" for x in range(1, len(keepers) + 1)))

entries = slot_id + hashlib.sha256(slot).digest() + bytes([0x33]) * 16 + bytes([0x44]) * 32
table = b"SRT1" + struct.pack(">HB", 1, 2) + entries
mac_key = hkdf(cluster, bytes([0x1C]) * 32, b"strongroom/ik/slots/1")
open("table-v1.bin", "wb").write(table + hmac.new(mac_key, table, hashlib.sha256).digest())

table = b"SRT1" + struct.pack(">HB", 2, 2) + entries + b"\x01" + bytes([0x55]) * 16 + bytes([0x66]) * 32
open("table-v2.bin", "wb").write(table + hmac.new(mac_key, table, hashlib.sha256).digest())
