"""Drives an edge with PyKMIP over mutual TLS, through every operation it serves; one line per case, exit status 1 at the first that fails.

Usage: python pykmip_edge.py HOST PORT CA ADMIN_CERT ADMIN_KEY CERT KEY OTHER_CERT OTHER_KEY CORE_KEY_ID
"""

import datetime
import hashlib
import hmac
import sys
import uuid

from cases import CBC, MASK, VERSIONS, attribute, by_name, case, client_of, finish, name_value, refused, state
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from kmip.core import enums
from kmip.core.attributes import PrivateKeyUniqueIdentifier
from kmip.core.objects import TemplateAttribute
from kmip.core.secrets import Template
from kmip.pie import objects
from kmip.pie.exceptions import KmipOperationFailure

HOST, PORT, CA, ADMIN_CERT, ADMIN_KEY, CERT, KEY, OTHER_CERT, OTHER_KEY, CORE_KEY_ID = sys.argv[1:]
AES = enums.CryptographicAlgorithm.AES
RNG = "Random Number Generator"
REASONS = enums.ResultReason
RSA = enums.CryptographicAlgorithm.RSA
Mask = enums.CryptographicUsageMask
Validity = enums.ValidityIndicator


def rsa_with(padding_method, hashing_algorithm):
    return {"padding_method": padding_method, "hashing_algorithm": hashing_algorithm, "cryptographic_algorithm": RSA}


PSS = rsa_with(enums.PaddingMethod.PSS, enums.HashingAlgorithm.SHA_256)
PKCS1 = rsa_with(enums.PaddingMethod.PKCS1v15, enums.HashingAlgorithm.SHA_256)
OAEP_SHA1 = rsa_with(enums.PaddingMethod.OAEP, enums.HashingAlgorithm.SHA_1)
OAEP_SHA256 = rsa_with(enums.PaddingMethod.OAEP, enums.HashingAlgorithm.SHA_256)


def client(cert, key, version, **more):
    return client_of(HOST, PORT, CA, cert, key, version, **more)


def clients(version):
    return [client(*who, version) for who in [(ADMIN_CERT, ADMIN_KEY), (CERT, KEY), (OTHER_CERT, OTHER_KEY)]]


def has_crypto(version):
    return version.value >= enums.KMIPVersion.KMIP_1_2.value


def life(version):
    """One key from Create to Destroy in one protocol version."""
    label = version.name
    name = "%s-%s" % (label, uuid.uuid4())
    crypto = has_crypto(version)
    admin, service, other = clients(version)
    with admin, service, other:
        key = service.create(AES, 256, name=name, cryptographic_usage_mask=MASK)
        case("%s Create" % label, not key.startswith("L3-"))
        taken = lambda: service.create(AES, 256, name=name, cryptographic_usage_mask=MASK)
        refused("%s Create of a name that is taken" % label, REASONS.INVALID_FIELD, taken)
        if crypto:
            refused("%s Encrypt with a Pre-Active key" % label, REASONS.PERMISSION_DENIED, lambda: service.encrypt(b"x", uid=key, cryptographic_parameters=CBC))
        service.activate(key)
        case("%s Activate" % label, state(service, key) == enums.State.ACTIVE)
        case("%s Locate by name" % label, service.locate(attributes=by_name(name)) == [key])
        case("%s Locate of another tenant" % label, other.locate(attributes=by_name(name)) == [])
        names = service.get_attribute_list(key)
        case("%s Get Attribute List" % label, {"Name", "State", "Cryptographic Length"} <= set(names))
        # PyKMIP reads the Key Format Type of a Digest also in 1.0, which does not have it yet; Random Number Generator, which is in 1.3 and later,
        # and our own attributes it cannot read.
        unread = {enums.KMIPVersion.KMIP_1_0: "Digest", enums.KMIPVersion.KMIP_1_3: RNG, enums.KMIPVersion.KMIP_1_4: RNG}.get(version)
        wanted = [each for each in names if each != unread and not each.startswith("y-")] if unread else None
        uid, attributes = service.get_attributes(key, wanted)
        values = {attribute.attribute_name.value for attribute in attributes}
        case("%s Get Attributes" % label, uid == key and {"Name", "State", "Cryptographic Usage Mask", "Unique Identifier"} <= values)
        case("%s Get Attributes by the tenant-admin" % label, state(admin, key) == enums.State.ACTIVE)
        got = service.get(key)
        case("%s Get" % label, got.cryptographic_length == 256 and len(got.value) == 32)
        if crypto:
            plain = bytes(range(256)) * 4
            ciphertext, iv = service.encrypt(plain, uid=key, cryptographic_parameters=CBC)
            case("%s Encrypt 1 KiB (CBC)" % label, len(ciphertext) == 1040 and len(iv) == 16)
            case("%s Decrypt" % label, service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == plain)
            refused("%s Decrypt by the tenant-admin" % label, REASONS.PERMISSION_DENIED,
                    lambda: admin.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv))
            refused("%s Decrypt by another tenant" % label, REASONS.ITEM_NOT_FOUND,
                    lambda: other.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv))
            refused("%s Encrypt by another tenant" % label, REASONS.ITEM_NOT_FOUND,
                    lambda: other.encrypt(plain, uid=key, cryptographic_parameters=CBC))
        refused("%s Get by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.get(key))
        strangers = [("Get", lambda: other.get(key)), ("Get Attributes", lambda: other.get_attributes(key)),
                     ("Get Attribute List", lambda: other.get_attribute_list(key)), ("Activate", lambda: other.activate(key)),
                     ("Destroy", lambda: other.destroy(key)), ("Re-key", lambda: other.rekey(key)),
                     ("Revoke", lambda: other.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key))]
        for operation, call in strangers:
            refused("%s %s by another tenant" % (label, operation), REASONS.ITEM_NOT_FOUND, call)
        refused("%s Destroy of an Active key" % label, REASONS.PERMISSION_DENIED, lambda: service.destroy(key))
        service.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, key, "no longer needed")
        case("%s Revoke" % label, state(service, key) == enums.State.DEACTIVATED)
        if crypto:
            refused("%s Encrypt with a revoked key" % label, REASONS.PERMISSION_DENIED, lambda: service.encrypt(b"x", uid=key, cryptographic_parameters=CBC))
            case("%s Decrypt with a revoked key" % label,
                 service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == plain)
        admin.destroy(key)
        case("%s Destroy by the tenant-admin" % label, state(service, key) == enums.State.DESTROYED)


def registered(version):
    """What is brought: a key, a password, an opaque object."""
    label = version.name
    admin, service, other = clients(version)
    with admin, service, other:
        material = uuid.uuid4().bytes + uuid.uuid4().bytes
        name = "%s-%s" % (label, uuid.uuid4())
        key = service.register(objects.SymmetricKey(AES, 256, material, masks=MASK, name=name))
        case("%s Register a key" % label, service.get(key).value == material and service.locate(attributes=by_name(name)) == [key])
        service.activate(key)
        if has_crypto(version):
            ciphertext, iv = service.encrypt(b"plain", uid=key, cryptographic_parameters=CBC)
            case("%s Encrypt with it" % label, service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == b"plain")
        secret = service.register(objects.SecretData(b"correct horse", enums.SecretDataType.PASSWORD, masks=[], name="%s-secret" % name))
        got = service.get(secret)
        case("%s Register a password" % label, got.value == b"correct horse" and got.data_type == enums.SecretDataType.PASSWORD)
        opaque = service.register(objects.OpaqueObject(bytes(range(256)), enums.OpaqueDataType.NONE, name="%s-opaque" % name))
        case("%s Register an opaque object" % label, service.get(opaque).value == bytes(range(256)))
        for each in [key, secret, opaque]:
            refused("%s Get by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: other.get(each))
            refused("%s Get by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.get(each))
        refused("%s Register by the tenant-admin" % label, REASONS.PERMISSION_DENIED,
                lambda: admin.register(objects.SymmetricKey(AES, 256, material, masks=MASK)))
        for each in [secret, opaque]:
            service.destroy(each)
            case("%s Destroy what was registered" % label, state(service, each) == enums.State.DESTROYED)


def pairs(version):
    """A key pair from Create Key Pair to Destroy; what is done with it holds against another library."""
    label = version.name
    names = ["%s-%s" % (label, uuid.uuid4()) for _ in range(2)]
    admin, service, other = clients(version)
    with admin, service, other:
        public, private = service.create_key_pair(RSA, 2048, public_name=names[0], public_usage_mask=[Mask.VERIFY, Mask.ENCRYPT],
                                                  private_name=names[1], private_usage_mask=[Mask.SIGN, Mask.DECRYPT])
        case("%s Create Key Pair" % label, service.locate(attributes=by_name(names[0])) == [public] and service.locate(attributes=by_name(names[1])) == [private])
        refused("%s Create Key Pair by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.create_key_pair(RSA, 2048))
        for each in [public, private]:
            service.activate(each)
        case("%s Activate of both halves" % label, (state(service, public), state(admin, private)) == (enums.State.ACTIVE, enums.State.ACTIVE))
        if version == enums.KMIPVersion.KMIP_1_0:
            refused("%s Re-key Key Pair, which 1.1 brought" % label, REASONS.OPERATION_NOT_SUPPORTED, lambda: rekey_key_pair(service, private))
        else:
            private, public = replaced(label, (admin, service, other), (private, public), names)
        theirs = serialization.load_der_private_key(service.get(private).value, None)
        their_public = serialization.load_der_public_key(service.get(public).value)
        case("%s Get of both halves" % label, theirs.public_key().public_numbers() == their_public.public_numbers() and theirs.key_size == 2048)
        refused("%s Get of a private key by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.get(private))
        refused("%s Get of a private key by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: other.get(private))
        if has_crypto(version):
            signatures(label, version, (admin, service, other), (private, public), (theirs, their_public))
        else:
            for each in [public, private]:
                service.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, each)
        for each in [public, private]:
            service.destroy(each)
            case("%s Destroy of a half" % label, state(service, each) == enums.State.DESTROYED)


def succeeded(result):
    """A result of PyKMIP's lower half, which raises nothing by itself."""
    if result.result_status.value != enums.ResultStatus.SUCCESS:
        raise KmipOperationFailure(result.result_status.value, result.result_reason.value, result.result_message.value)
    return result


def rekey_key_pair(who, private):
    """Re-key Key Pair; the identifiers of the new private and public key."""
    result = succeeded(who.proxy.rekey_key_pair(private_key_uuid=PrivateKeyUniqueIdentifier(private)))
    return result.private_key_uuid, result.public_key_uuid


def replaced(label, who, old, names):
    """A new pair in the place of an Active one, which goes; returns the new one."""
    admin, service, other = who
    before = [service.get(each).value for each in old]
    new = rekey_key_pair(service, old[0])
    case("%s Re-key Key Pair moves the names" % label, [service.locate(attributes=by_name(name)) for name in names[::-1]] == [[each] for each in new])
    case("%s Re-key Key Pair's states" % label, [state(service, each) for each in (*old, *new)] == [enums.State.ACTIVE] * 4)
    case("%s Re-key Key Pair makes other keys" % label, all(service.get(each).value != was for each, was in zip(new, before)))
    refused("%s Re-key Key Pair of what was replaced" % label, REASONS.PERMISSION_DENIED, lambda: rekey_key_pair(service, old[0]))
    refused("%s Re-key Key Pair of a public key" % label, REASONS.PERMISSION_DENIED, lambda: rekey_key_pair(service, new[1]))
    refused("%s Re-key Key Pair by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: rekey_key_pair(admin, new[0]))
    refused("%s Re-key Key Pair by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: rekey_key_pair(other, new[0]))
    for each in old:
        service.revoke(enums.RevocationReasonCode.SUPERSEDED, each)
        service.destroy(each)
    return new


def signatures(label, version, who, ours, theirs):
    """Sign, Signature Verify, Encrypt and Decrypt with a pair, each against the other library; the pair is Deactivated afterwards."""
    (admin, service, other), (private, public), (their_private, their_public) = who, ours, theirs
    their_pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for way, theirs in [(PSS, their_pss), (PKCS1, padding.PKCS1v15())]:
        signature = service.sign(b"text", uid=private, cryptographic_parameters=way)
        their_public.verify(signature, b"text", theirs, hashes.SHA256())
        case("%s Sign, verified elsewhere" % label, len(signature) == 256)
        made = their_private.sign(b"text", theirs, hashes.SHA256())
        for text, each, verdict in [(b"text", made, Validity.VALID), (b"other", made, Validity.INVALID), (b"text", made[::-1], Validity.INVALID)]:
            case("%s Signature Verify of what was signed elsewhere: %s" % (label, verdict.name),
                 service.signature_verify(text, each, uid=public, cryptographic_parameters=way) == verdict)
    # In 1.4 MGF1 has SHA-1 where nothing is said, and PyKMIP says nothing; before, there was one hash for both.
    ours, hashed = (OAEP_SHA1, hashes.SHA1()) if version == enums.KMIPVersion.KMIP_1_4 else (OAEP_SHA256, hashes.SHA256())
    theirs = padding.OAEP(padding.MGF1(hashed), hashed, None)
    sealed = service.encrypt(b"secret", uid=public, cryptographic_parameters=ours)[0]
    case("%s Encrypt with RSA, decrypted elsewhere" % label, their_private.decrypt(sealed, theirs) == b"secret")
    sealed = their_public.encrypt(b"secret", theirs)
    case("%s Decrypt of what was encrypted elsewhere" % label, service.decrypt(sealed, uid=private, cryptographic_parameters=ours) == b"secret")
    refused("%s Decrypt of something else" % label, REASONS.CRYPTOGRAPHIC_FAILURE,
            lambda: service.decrypt(sealed[::-1], uid=private, cryptographic_parameters=ours))
    refused("%s Sign by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.sign(b"text", uid=private, cryptographic_parameters=PSS))
    refused("%s Sign by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: other.sign(b"text", uid=private, cryptographic_parameters=PSS))
    refused("%s Sign with the public half" % label, REASONS.PERMISSION_DENIED, lambda: service.sign(b"text", uid=public, cryptographic_parameters=PSS))
    signature = service.sign(b"text", uid=private, cryptographic_parameters=PSS)
    for each in [public, private]:
        service.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, each)
    refused("%s Sign with a revoked key" % label, REASONS.PERMISSION_DENIED, lambda: service.sign(b"text", uid=private, cryptographic_parameters=PSS))
    case("%s Signature Verify with a revoked key" % label,
         service.signature_verify(b"text", signature, uid=public, cryptographic_parameters=PSS) == Validity.VALID)


def brought_pairs(version):
    """Keys of pairs and a certificate that were made elsewhere."""
    label = version.name
    key = rsa.generate_private_key(65537, 3072)
    der = serialization.Encoding.DER
    private = key.private_bytes(der, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "strongroom")])
    now = datetime.datetime(2026, 1, 1)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1)).sign(key, hashes.SHA256()).public_bytes(der)
    _, service, other = clients(version)
    with service, other:
        names = ["%s-%s" % (label, uuid.uuid4()) for _ in range(3)]
        ids = [service.register(objects.PrivateKey(RSA, 3072, private, enums.KeyFormatType.PKCS_8, masks=[Mask.SIGN], name=names[0])),
               service.register(objects.PublicKey(RSA, 3072, public, enums.KeyFormatType.X_509, masks=[Mask.VERIFY], name=names[1])),
               service.register(objects.X509Certificate(certificate, masks=[Mask.VERIFY], name=names[2]))]
        case("%s Register of a pair and its certificate" % label, [service.get(each).value for each in ids] == [private, public, certificate])
        for each in ids:
            refused("%s Get of it by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: other.get(each))
            service.activate(each)
        if has_crypto(version):
            signature = service.sign(b"text", uid=ids[0], cryptographic_parameters=PSS)
            case("%s Sign with what was registered" % label,
                 service.signature_verify(b"text", signature, uid=ids[1], cryptographic_parameters=PSS) == Validity.VALID)


def governance(version):
    """The attribute operations and Re-key in one protocol version."""
    label = version.name
    names = ["%s-%s" % (label, uuid.uuid4()) for _ in range(2)]
    admin, service, other = clients(version)
    with admin, service, other:
        key = service.create(AES, 256, name=names[0], cryptographic_usage_mask=MASK)
        service.activate(key)
        case("%s Check" % label, service.check(key, cryptographic_usage_mask=MASK) == key)
        renamed = attribute(enums.AttributeType.NAME, name_value(names[1]), 0)
        uid, changed = service.modify_attribute(key, attribute=renamed)
        case("%s Modify Attribute repeats the new value" % label, uid == key and changed.attribute_value.name_value.value == names[1])
        case("%s Locate by the new name" % label, service.locate(attributes=by_name(names[1])) == [key] and service.locate(attributes=by_name(names[0])) == [])
        refused("%s Modify Attribute by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: other.modify_attribute(key, attribute=renamed))
        refused("%s Modify Attribute by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: admin.modify_attribute(key, attribute=renamed))
        refused("%s Delete Attribute of the state" % label, REASONS.PERMISSION_DENIED, lambda: service.delete_attribute(key, attribute_name="State"))
        new = service.rekey(key)
        case("%s Re-key" % label, new != key)
        case("%s Re-key moves the name" % label, service.locate(attributes=by_name(names[1])) == [new])
        case("%s Re-key's states" % label, (state(service, key), state(service, new)) == (enums.State.ACTIVE, enums.State.ACTIVE))
        refused("%s Re-key of what was replaced" % label, REASONS.PERMISSION_DENIED, lambda: service.rekey(key))
        uid, gone = service.delete_attribute(new, attribute_name="Name", attribute_index=0)
        case("%s Delete Attribute repeats what is gone" % label, uid == new and gone.attribute_value.name_value.value == names[1])


def templates(version):
    """A Template from Register to Destroy, and what is made with it."""
    label = version.name
    name = "%s-%s" % (label, uuid.uuid4())
    kinds = enums.AttributeType
    values = [attribute(kinds.CRYPTOGRAPHIC_ALGORITHM, AES), attribute(kinds.CRYPTOGRAPHIC_LENGTH, 192), attribute(kinds.CRYPTOGRAPHIC_USAGE_MASK, MASK)]
    admin, service, other = clients(version)
    with admin, service, other:
        keep = lambda who: succeeded(who.proxy.register(enums.ObjectType.TEMPLATE, TemplateAttribute(attributes=by_name(name)), Template(values))).uuid
        create = lambda who, more=(): succeeded(who.proxy.create(enums.ObjectType.SYMMETRIC_KEY, TemplateAttribute([name_value(name)], list(more)))).uuid
        template = keep(service)
        case("%s Locate a Template" % label, service.locate(attributes=by_name(name)) == [template])
        got = succeeded(service.proxy.get(template))
        case("%s Get a Template" % label, got.object_type == enums.ObjectType.TEMPLATE and len(got.secret.attributes) == 3)
        case("%s Create by a Template" % label, service.get(create(service)).cryptographic_length == 192)
        longer = create(service, [attribute(kinds.CRYPTOGRAPHIC_LENGTH, 256)])
        case("%s Create by a Template and its own length" % label, service.get(longer).cryptographic_length == 256)
        refused("%s Create by another tenant's Template" % label, REASONS.ITEM_NOT_FOUND, lambda: create(other))
        refused("%s Get a Template by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: succeeded(other.proxy.get(template)))
        refused("%s Get a Template by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: succeeded(admin.proxy.get(template)))
        refused("%s Register a Template by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: keep(admin))
        refused("%s Activate a Template" % label, REASONS.ILLEGAL_OPERATION, lambda: service.activate(template))
        service.destroy(template)
        refused("%s Get a Template that is gone" % label, REASONS.ITEM_NOT_FOUND, lambda: succeeded(service.proxy.get(template)))
        refused("%s Create by a Template that is gone" % label, REASONS.ITEM_NOT_FOUND, lambda: create(service))
        service.destroy(keep(service))


def groups(version):
    """Keys that were made ahead in a group and are handed out once each, and the group's default."""
    label = version.name
    group = attribute(enums.AttributeType.OBJECT_GROUP, "%s-%s" % (label, uuid.uuid4()))
    values = [attribute(enums.AttributeType.CRYPTOGRAPHIC_ALGORITHM, AES), attribute(enums.AttributeType.CRYPTOGRAPHIC_LENGTH, 256),
              attribute(enums.AttributeType.CRYPTOGRAPHIC_USAGE_MASK, MASK), group]
    member = enums.ObjectGroupMember
    _, service, other = clients(version)
    with service, other:
        create = lambda: succeeded(service.proxy.create(enums.ObjectType.SYMMETRIC_KEY, TemplateAttribute(attributes=values))).uuid
        located = lambda who, which: set(who.locate(object_group_member=which, attributes=[group]))
        keys = [create(), create()]
        case("%s Locate of fresh members" % label, located(service, member.GROUP_MEMBER_FRESH) == set(keys))
        case("%s Locate of fresh members of another tenant" % label, located(other, member.GROUP_MEMBER_FRESH) == set())
        service.get(keys[0])
        case("%s Locate of fresh members after a Get" % label, located(service, member.GROUP_MEMBER_FRESH) == {keys[1]})
        case("%s Locate of a default member without one" % label, located(service, member.GROUP_MEMBER_DEFAULT) == set())
        service.activate(keys[0])
        case("%s Locate of the default member" % label, located(service, member.GROUP_MEMBER_DEFAULT) == {keys[0]})


def computed(version):
    """Codes over data, and keys computed from keys."""
    label = version.name
    usage = enums.CryptographicUsageMask
    admin, service, other = clients(version)
    with admin, service, other:
        material = uuid.uuid4().bytes + uuid.uuid4().bytes
        key = service.register(objects.SymmetricKey(AES, 256, material, name="%s-%s" % (label, uuid.uuid4()),
                                                    masks=[usage.MAC_GENERATE, usage.MAC_VERIFY, usage.DERIVE_KEY]))
        sha_256 = {"cryptographic_parameters": {"hashing_algorithm": enums.HashingAlgorithm.SHA_256}, "derivation_data": b"label"}
        derive = lambda who: who.derive_key(enums.ObjectType.SYMMETRIC_KEY, [key], enums.DerivationMethod.HMAC, sha_256,
                                            cryptographic_algorithm=AES, cryptographic_length=256)
        refused("%s Derive Key from a Pre-Active key" % label, REASONS.INVALID_FIELD, lambda: derive(service))
        service.activate(key)
        expected = hmac.new(material, b"label", hashlib.sha256).digest()
        case("%s Derive Key (HMAC)" % label, service.get(derive(service)).value == expected)
        refused("%s Derive Key by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: derive(other))
        refused("%s Derive Key by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: derive(admin))
        counter = service.derive_key(enums.ObjectType.SECRET_DATA, [key], enums.DerivationMethod.NIST800_108_C, sha_256, cryptographic_length=512)
        blocks = [hmac.new(material, bytes([0, 0, 0, each]) + b"label", hashlib.sha256).digest() for each in (1, 2)]
        case("%s Derive Key (NIST800-108-C)" % label, service.get(counter).value == b"".join(blocks))
        password = service.register(objects.SecretData(b"correct horse", enums.SecretDataType.PASSWORD, masks=[usage.DERIVE_KEY], name="%s-%s" % (label, uuid.uuid4())))
        service.activate(password)
        salted = {"cryptographic_parameters": {"hashing_algorithm": enums.HashingAlgorithm.SHA_256}, "salt": b"battery", "iteration_count": 1000}
        stretched = service.derive_key(enums.ObjectType.SYMMETRIC_KEY, [password], enums.DerivationMethod.PBKDF2, salted,
                                       cryptographic_algorithm=AES, cryptographic_length=256)
        case("%s Derive Key (PBKDF2)" % label,
             service.get(stretched).value == hashlib.pbkdf2_hmac("sha256", b"correct horse", b"battery", 1000))
        if has_crypto(version):
            code = lambda who, algorithm: who.mac(b"message", uid=key, algorithm=algorithm)
            for algorithm, hashed in [(enums.CryptographicAlgorithm.HMAC_SHA1, "sha1"), (enums.CryptographicAlgorithm.HMAC_SHA256, "sha256"),
                                      (enums.CryptographicAlgorithm.HMAC_SHA512, "sha512")]:
                expected = hmac.new(material, b"message", hashed).digest()
                case("%s MAC (%s)" % (label, algorithm.name), code(service, algorithm) == (key, expected))
            case("%s MAC (CMAC)" % label, len(code(service, AES)[1]) == 16)
            refused("%s MAC by another tenant" % label, REASONS.ITEM_NOT_FOUND, lambda: code(other, AES))
            refused("%s MAC by the tenant-admin" % label, REASONS.PERMISSION_DENIED, lambda: code(admin, AES))
            refused("%s MAC with a key that is not for it" % label, REASONS.PERMISSION_DENIED, lambda: service.mac(b"x", uid=password, algorithm=enums.CryptographicAlgorithm.HMAC_SHA256))


def at_the_core(version):
    """Keys of the core, through the edge."""
    label = version.name
    admin, service, other = clients(version)
    with admin, service, other:
        key = admin.create(AES, 256, cryptographic_usage_mask=MASK)
        case("%s Create of a key of the core" % label, key.startswith("L3-"))
        admin.activate(key)
        case("%s Activate of a key of the core" % label, state(service, key) == enums.State.ACTIVE)
        if has_crypto(version):
            ciphertext, iv = service.encrypt(b"plain", uid=key, cryptographic_parameters=CBC)
            case("%s Encrypt at the core" % label, service.decrypt(ciphertext, uid=key, cryptographic_parameters=CBC, iv_counter_nonce=iv) == b"plain")
            refused("%s Encrypt at the core by another tenant" % label, REASONS.ITEM_NOT_FOUND,
                    lambda: other.encrypt(b"x", uid=CORE_KEY_ID, cryptographic_parameters=CBC))
        refused("%s Destroy of a key of the core by the service" % label, REASONS.PERMISSION_DENIED, lambda: service.destroy(key))


for each in VERSIONS:
    life(each)
    registered(each)
    pairs(each)
    brought_pairs(each)
    governance(each)
    templates(each)
    if each != enums.KMIPVersion.KMIP_1_0:
        groups(each)
    computed(each)
    at_the_core(each)
with client(CERT, KEY, enums.KMIPVersion.KMIP_1_4, tls=None) as modern:
    case("1.4 over TLS 1.3", len(modern.locate()) >= 1)
finish()
