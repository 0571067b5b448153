"""Computes blob-v1.txt from the layout in src/wrap.rs with Python's `cryptography`, independently of our code: python3 blob-v1.py > blob-v1.txt"""
import hashlib, hmac, struct, sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305


def extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha512).digest()


def expand(prk, info, length):
    out, block, n = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([n]), hashlib.sha512).digest()
        out, n = out + block, n + 1
    return out[:length]


def hchacha20(key, nonce):
    words = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key)) + list(struct.unpack("<4I", nonce))
    rotate = lambda v, n: ((v << n) | (v >> (32 - n))) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            words[x] = (words[x] + words[y]) & 0xFFFFFFFF
            words[z] = rotate(words[z] ^ words[x], n)

    for _ in range(10):
        quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14)
    return struct.pack("<8I", *(words[:4] + words[12:]))


def seal(aead, key, plain, aad):
    if aead == 1:
        return AESGCM(key).encrypt(bytes(12), plain, aad)
    if aead == 2:
        return ChaCha20Poly1305(hchacha20(key, bytes(16))).encrypt(bytes(12), plain, aad)
    return AESGCMSIV(key).encrypt(bytes(12), plain, aad)


cluster, tenant, obj, kid = (bytes([n]) * 16 for n in (1, 2, 3, 5))
version, wrap_ver, salt = 4, 6, bytes([8]) * 32
layer = 10
row = (b"strongroom/aad/1" + cluster + tenant + bytes([layer]) + obj + struct.pack(">I", version) + kid
         + struct.pack(">IIIIQ", wrap_ver, 2, 3, 256, 7))
object_key = b"strongroom/aad/object-key/1" + cluster + tenant + b"".join(bytes([n]) * 16 for n in (9, 10, 11))
places = ((layer, row), (11, object_key))
print("# For a row and for an edge's object key in turn: the AAD behind the header ab ab ab, then a blob per AEAD 1, 2, 3. Made by blob-v1.py.")
for _, facts in places:
    print((b"\xab" * 3 + facts).hex())
prk = extract(cluster, b"\x42" * 32)
for aead in (1, 2, 3):
    derived = expand(prk, b"strongroom/wrap/1" + struct.pack(">H", aead) + kid + struct.pack(">I", wrap_ver) + salt, 64)
    for layer, facts in places:
        header = b"SRK1" + bytes([1, layer]) + struct.pack(">HH", aead, 1) + kid + struct.pack(">I", wrap_ver) + salt + derived[32:]
        plain = b"thirty-two bytes of key material"
        print((header + struct.pack(">I", len(plain)) + seal(aead, derived[:32], plain, header + facts)).hex())
