"""Drives a core with PyKMIP over mutual TLS, through every operation it serves; one line per case, exit status 1 at the first that fails.

Usage: python pykmip_core.py HOST PORT CA ADMIN_CERT ADMIN_KEY CERT KEY OTHER_CERT OTHER_KEY OTHER_KEY_ID EXTRACTABLE_ID WRAPPING_ID

EXTRACTABLE_ID is an AES-256 key that may leave, WRAPPING_ID a key with the parameters NISTKeyWrap and AESKeyWrapPadding: PyKMIP can make neither.
"""

import sys
import uuid

from cases import CBC, MASK, VERSIONS, attribute, by_name, case, client_of, finish, name_value, refused, state
from kmip.core import enums, objects, primitives

HOST, PORT, CA, ADMIN_CERT, ADMIN_KEY, CERT, KEY, OTHER_CERT, OTHER_KEY, OTHER_KEY_ID, EXTRACTABLE_ID, WRAPPING_ID = sys.argv[1:]
read_structure = objects.KeyValue.read


def read_key_value(self, stream, kmip_version=enums.KMIPVersion.KMIP_1_0):
    """A wrapped Key Value is a Byte String (2.1.3 of the standard); PyKMIP knows the structure only."""
    if stream.peek(4)[3] != enums.Types.BYTE_STRING.value:
        return read_structure(self, stream, kmip_version=kmip_version)
    wrapped = primitives.ByteString(tag=enums.Tags.KEY_VALUE)
    wrapped.read(stream, kmip_version=kmip_version)
    self.key_material, self.attributes = objects.KeyMaterial(wrapped.value), []


objects.KeyValue.read = read_key_value


def client(cert, key, version, **more):
    return client_of(HOST, PORT, CA, cert, key, version, **more)


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


def governance(version):
    """Check, the attribute operations and Re-key in one protocol version."""
    label = version.name
    names = ["%s-%s" % (label, uuid.uuid4()) for _ in range(3)]
    reasons = enums.ResultReason
    with client(ADMIN_CERT, ADMIN_KEY, version) as admin, client(CERT, KEY, version) as service, client(OTHER_CERT, OTHER_KEY, version) as other:
        key, taken = [admin.create(enums.CryptographicAlgorithm.AES, 256, name=name, cryptographic_usage_mask=MASK) for name in names[:2]]
        renamed = attribute(enums.AttributeType.NAME, name_value(names[2]), 0)

        refused("%s Check of a Pre-Active key" % label, reasons.PERMISSION_DENIED, lambda: service.check(key, cryptographic_usage_mask=MASK))
        admin.activate(key)
        case("%s Check" % label, service.check(key, usage_limits_count=1, cryptographic_usage_mask=MASK) == key)
        refused("%s Check by who may not encrypt" % label, reasons.PERMISSION_DENIED, lambda: admin.check(key, cryptographic_usage_mask=MASK))
        refused("%s Check for wrapping" % label, reasons.PERMISSION_DENIED,
                lambda: service.check(key, cryptographic_usage_mask=[enums.CryptographicUsageMask.WRAP_KEY]))
        refused("%s Check for a lease" % label, reasons.PERMISSION_DENIED, lambda: service.check(key, cryptographic_usage_mask=[], lease_time=60))
        # PyKMIP cannot read a refusal of Check without a payload, which is what a stranger gets.

        uid, changed = admin.modify_attribute(key, attribute=renamed)
        case("%s Modify Attribute repeats the new value" % label, uid == key and changed.attribute_value.name_value.value == names[2])
        case("%s Locate by the new name" % label, service.locate(attributes=by_name(names[2])) == [key] and service.locate(attributes=by_name(names[0])) == [])
        missing = attribute(enums.AttributeType.NAME, name_value(names[0]), 5)
        refused("%s Modify Attribute of no such instance" % label, reasons.ITEM_NOT_FOUND, lambda: admin.modify_attribute(key, attribute=missing))
        clash = attribute(enums.AttributeType.NAME, name_value(names[1]), 0)
        refused("%s Modify Attribute to a name that is taken" % label, reasons.ILLEGAL_OPERATION, lambda: admin.modify_attribute(key, attribute=clash))
        mask = attribute(enums.AttributeType.CRYPTOGRAPHIC_USAGE_MASK, [enums.CryptographicUsageMask.WRAP_KEY])
        refused("%s Modify Attribute of the mask" % label, reasons.PERMISSION_DENIED, lambda: admin.modify_attribute(key, attribute=mask))
        contact = attribute(enums.AttributeType.CONTACT_INFORMATION, "me")
        refused("%s Modify Attribute of what is not there" % label, reasons.INVALID_FIELD, lambda: admin.modify_attribute(key, attribute=contact))
        refused("%s Modify Attribute by the service" % label, reasons.PERMISSION_DENIED, lambda: service.modify_attribute(key, attribute=renamed))
        refused("%s Modify Attribute by another tenant" % label, reasons.ITEM_NOT_FOUND, lambda: other.modify_attribute(key, attribute=renamed))

        uid, gone = admin.delete_attribute(taken, attribute_name="Name", attribute_index=0)
        case("%s Delete Attribute repeats what is gone" % label, uid == taken and gone.attribute_value.name_value.value == names[1])
        refused("%s Delete Attribute of what is gone" % label, reasons.ITEM_NOT_FOUND, lambda: admin.delete_attribute(taken, attribute_name="Name"))
        refused("%s Delete Attribute of the state" % label, reasons.PERMISSION_DENIED, lambda: admin.delete_attribute(key, attribute_name="State"))
        refused("%s Delete Attribute of nonsense" % label, reasons.ITEM_NOT_FOUND, lambda: admin.delete_attribute(key, attribute_name="Nonsense"))
        refused("%s Delete Attribute by the service" % label, reasons.PERMISSION_DENIED, lambda: service.delete_attribute(key, attribute_name="Name"))
        refused("%s Delete Attribute by another tenant" % label, reasons.ITEM_NOT_FOUND, lambda: other.delete_attribute(key, attribute_name="Name"))

        refused("%s Re-key with an offset" % label, reasons.FEATURE_NOT_SUPPORTED, lambda: admin.rekey(key, offset=60))
        refused("%s Re-key with offset and date" % label, reasons.INVALID_MESSAGE, lambda: admin.rekey(key, offset=0, deactivation_date=2000000000))
        refused("%s Re-key by the service" % label, reasons.PERMISSION_DENIED, lambda: service.rekey(key))
        refused("%s Re-key by another tenant" % label, reasons.ITEM_NOT_FOUND, lambda: other.rekey(key))
        new = admin.rekey(key)
        case("%s Re-key" % label, new.startswith("L3-") and new != key)
        case("%s Re-key moves the name" % label, service.locate(attributes=by_name(names[2])) == [new])
        case("%s Re-key's states" % label, (state(admin, key), state(admin, new)) == (enums.State.DEACTIVATED, enums.State.ACTIVE))
        refused("%s Re-key of what was replaced" % label, reasons.PERMISSION_DENIED, lambda: admin.rekey(key))
        case("%s Re-key with offset 0" % label, state(admin, admin.rekey(new, offset=0)) == enums.State.ACTIVE)


def wrapping(mode=enums.BlockCipherMode.NIST_KEY_WRAP, method=enums.WrappingMethod.ENCRYPT, key=None, **more):
    information = {"unique_identifier": key or WRAPPING_ID, "cryptographic_parameters": {"block_cipher_mode": mode}}
    return dict(more, wrapping_method=method, encryption_key_information=information)


def export(version):
    """Get in one protocol version."""
    label = version.name
    is_1_4 = version == enums.KMIPVersion.KMIP_1_4
    reasons = enums.ResultReason
    with client(ADMIN_CERT, ADMIN_KEY, version) as admin, client(CERT, KEY, version) as service, client(OTHER_CERT, OTHER_KEY, version) as other:
        key = admin.create(enums.CryptographicAlgorithm.AES, 256, cryptographic_usage_mask=MASK)
        sensitive, kept = (reasons.SENSITIVE, reasons.NOT_EXTRACTABLE) if is_1_4 else (reasons.PERMISSION_DENIED,) * 2
        refused("%s Get unwrapped" % label, sensitive, lambda: admin.get(EXTRACTABLE_ID))
        refused("%s Get of a key that is not Extractable" % label, kept, lambda: admin.get(key, wrapping()))
        for mode in [enums.BlockCipherMode.NIST_KEY_WRAP, enums.BlockCipherMode.AES_KEY_WRAP_PADDING]:
            got = admin.get(EXTRACTABLE_ID, wrapping(mode))
            information = got.key_wrapping_data["encryption_key_information"]
            is_told = information["unique_identifier"] == WRAPPING_ID and information["cryptographic_parameters"]["block_cipher_mode"] == mode
            # Key Value, 8 bytes, Key Material, 8 and 32, and what wrapping adds.
            case("%s Get wrapped by %s" % (label, mode.name), is_told and len(got.value) == 56 and got.cryptographic_length == 256)
        more = admin.get(EXTRACTABLE_ID, wrapping(attribute_names=["State", "Cryptographic Length"]))
        case("%s Get wrapped with attributes" % label, len(more.value) > 56)
        if version != enums.KMIPVersion.KMIP_1_0:
            bare = admin.get(EXTRACTABLE_ID, wrapping(encoding_option=enums.EncodingOption.NO_ENCODING))
            case("%s Get wrapped without encoding" % label, len(bare.value) == 40)
            refused("%s Get without encoding, with attributes" % label, reasons.ENCODING_OPTION_ERROR,
                    lambda: admin.get(EXTRACTABLE_ID, wrapping(encoding_option=enums.EncodingOption.NO_ENCODING, attribute_names=["State"])))
        refused("%s Get by a mode that the wrapping key does not have" % label, reasons.ITEM_NOT_FOUND,
                lambda: admin.get(EXTRACTABLE_ID, wrapping(enums.BlockCipherMode.CBC)))
        refused("%s Get signed" % label, reasons.FEATURE_NOT_SUPPORTED,
                lambda: admin.get(EXTRACTABLE_ID, wrapping(method=enums.WrappingMethod.MAC_SIGN)))
        refused("%s Get wrapped by another tenant's key" % label, reasons.ITEM_NOT_FOUND,
                lambda: admin.get(EXTRACTABLE_ID, wrapping(key=OTHER_KEY_ID)))
        refused("%s Get wrapped by nobody's key" % label, reasons.ITEM_NOT_FOUND, lambda: admin.get(EXTRACTABLE_ID, wrapping(key="nobody")))
        refused("%s Get by the service" % label, reasons.PERMISSION_DENIED, lambda: service.get(EXTRACTABLE_ID, wrapping()))
        refused("%s Get by another tenant" % label, reasons.ITEM_NOT_FOUND, lambda: other.get(EXTRACTABLE_ID, wrapping()))


for each in VERSIONS:
    life(each)
    governance(each)
    export(each)
with client(CERT, KEY, enums.KMIPVersion.KMIP_1_4, tls=None) as modern:
    case("1.4 over TLS 1.3", len(modern.locate()) >= 1)
    refused("Encrypt with another tenant's default key", enums.ResultReason.ITEM_NOT_FOUND,
            lambda: modern.encrypt(b"x", uid=OTHER_KEY_ID, cryptographic_parameters=CBC))
finish()
