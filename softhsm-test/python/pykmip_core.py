"""Drives a core with PyKMIP over mutual TLS, through every operation it serves; one line per case, exit status 1 at the first that fails.

Usage: python pykmip_core.py HOST PORT CA ADMIN_CERT ADMIN_KEY CERT KEY OTHER_CERT OTHER_KEY OTHER_KEY_ID
"""

import logging
import sys
import uuid

from kmip.core import enums
from kmip.core.factories.attributes import AttributeFactory
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure

HOST, PORT, CA, ADMIN_CERT, ADMIN_KEY, CERT, KEY, OTHER_CERT, OTHER_KEY, OTHER_KEY_ID = sys.argv[1:]
VERSIONS = [getattr(enums.KMIPVersion, "KMIP_1_%d" % minor) for minor in range(5)]
MASK = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
CBC = {"block_cipher_mode": enums.BlockCipherMode.CBC, "padding_method": enums.PaddingMethod.PKCS5,
       "cryptographic_algorithm": enums.CryptographicAlgorithm.AES}
passed = 0

logging.disable(logging.CRITICAL)


def client(cert, key, version, tls="PROTOCOL_TLSv1_2"):
    return ProxyKmipClient(hostname=HOST, port=int(PORT), cert=cert, key=key, ca=CA, ssl_version=tls, kmip_version=version, config="strongroom")


def case(name, holds):
    global passed
    print("%s %s" % ("ok    " if holds else "FAILED", name), flush=True)
    if not holds:
        sys.exit(1)
    passed += 1


def refused(name, reason, call):
    try:
        answer = call()
    except KmipOperationFailure as failure:
        case("%s: %s" % (name, failure.reason.name), failure.reason == reason)
    else:
        case("%s was answered %r" % (name, answer), False)


def by_name(name):
    return [AttributeFactory().create_attribute(enums.AttributeType.NAME, name)]


def life(version):
    """One key from Create to Destroy in one protocol version."""
    label = version.name
    name = "%s-%s" % (label, uuid.uuid4())
    crypto = version.value >= enums.KMIPVersion.KMIP_1_2.value
    with client(ADMIN_CERT, ADMIN_KEY, version) as admin, client(CERT, KEY, version) as service, client(OTHER_CERT, OTHER_KEY, version) as other:
        key = admin.create(enums.CryptographicAlgorithm.AES, 256, name=name, cryptographic_usage_mask=MASK)
        case("%s Create" % label, key.startswith("L3-"))
        if crypto:
            refused("%s Encrypt with a Pre-Active key" % label, enums.ResultReason.PERMISSION_DENIED, lambda: service.encrypt(b"x", uid=key, cryptographic_parameters=CBC))
        admin.activate(key)
        case("%s Activate" % label, state(admin, key) == enums.State.ACTIVE)
        case("%s Locate by name" % label, service.locate(attributes=by_name(name)) == [key])
        case("%s Locate of another tenant" % label, other.locate(attributes=by_name(name)) == [])
        names = service.get_attribute_list(key)
        case("%s Get Attribute List" % label, {"Name", "State", "Cryptographic Length"} <= set(names))
        uid, attributes = service.get_attributes(key)
        values = {attribute.attribute_name.value for attribute in attributes}
        case("%s Get Attributes" % label, uid == key and {"Name", "State", "Cryptographic Usage Mask", "Unique Identifier"} <= values)
        if crypto:
            plain = bytes(range(256)) * 4
            ciphertext, iv = service.encrypt(plain, uid=key, cryptographic_parameters=CBC)
            case("%s Encrypt 1 KiB (CBC)" % label, len(ciphertext) == 1040 and len(iv) == 16)
            case("%s Decrypt" % label, service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == plain)
            refused("%s Decrypt by another tenant" % label, enums.ResultReason.ITEM_NOT_FOUND,
                    lambda: other.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv))
            refused("%s Encrypt by another tenant" % label, enums.ResultReason.ITEM_NOT_FOUND,
                    lambda: other.encrypt(plain, uid=key, cryptographic_parameters=CBC))
        strangers = [("Get Attributes", lambda: other.get_attributes(key)), ("Get Attribute List", lambda: other.get_attribute_list(key)),
                     ("Activate", lambda: other.activate(key)), ("Destroy", lambda: other.destroy(key)),
                     ("Revoke", lambda: other.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key))]
        for operation, call in strangers:
            refused("%s %s by another tenant" % (label, operation), enums.ResultReason.ITEM_NOT_FOUND, call)
        refused("%s Destroy by the service" % label, enums.ResultReason.PERMISSION_DENIED, lambda: service.destroy(key))
        admin.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key, "no longer needed")
        case("%s Revoke" % label, state(admin, key) == enums.State.DEACTIVATED)
        if crypto:
            refused("%s Encrypt with a revoked key" % label, enums.ResultReason.PERMISSION_DENIED, lambda: service.encrypt(b"x", uid=key, cryptographic_parameters=CBC))
            case("%s Decrypt with a revoked key" % label,
                 service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == plain)
        admin.destroy(key)
        case("%s Destroy" % label, state(admin, key) == enums.State.DESTROYED)


def state(admin, key):
    _, (attribute,) = admin.get_attributes(key, ["State"])
    return attribute.attribute_value.value


for each in VERSIONS:
    life(each)
with client(CERT, KEY, enums.KMIPVersion.KMIP_1_4, tls=None) as modern:
    case("1.4 over TLS 1.3", len(modern.locate()) >= 1)
    refused("Encrypt with another tenant's default key", enums.ResultReason.ITEM_NOT_FOUND,
            lambda: modern.encrypt(b"x", uid=OTHER_KEY_ID, cryptographic_parameters=CBC))
print("PyKMIP: %d cases passed" % passed)
