"""Drives an edge with libmongocrypt, MongoDB's own client-side encryption, by its own KMIP client; one line per case, exit status 1 at the first that fails.

No database is needed: the key vault is a list, and the library's KMIP messages go to the edge by mutual TLS as a driver sends them.

Usage: python mongocrypt_edge.py HOST PORT CA ADMIN_CERT ADMIN_KEY CERT KEY OTHER_CERT OTHER_KEY CORE_KEY_ID
"""

import socket
import ssl
import sys
import uuid

import bson
from bson.binary import UUID_SUBTYPE, Binary
from cases import case, client_of, finish, refused, state
from kmip.core import enums
from pymongocrypt.auto_encrypter import AutoEncrypter
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.state_machine import MongoCryptCallback

HOST, PORT, CA, _ADMIN_CERT, _ADMIN_KEY, CERT, KEY, OTHER_CERT, OTHER_KEY, _CORE_KEY_ID = sys.argv[1:]
ENDPOINT = "%s:%s" % (HOST, PORT)
DETERMINISTIC = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"
RANDOM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"


class Vault(MongoCryptCallback):
    """A key vault in memory, and the way to the edge."""

    def __init__(self, cert, key, keys):
        self.tls = ssl.create_default_context(cafile=CA)
        self.tls.load_cert_chain(cert, key)
        self.keys = keys
        self.messages = 0

    def kms_request(self, kms_context):
        host, port = kms_context.endpoint.rsplit(":", 1)
        self.messages += 1
        with socket.create_connection((host, int(port)), timeout=30) as plain, self.tls.wrap_socket(plain, server_hostname=host) as stream:
            stream.sendall(kms_context.message)
            while kms_context.bytes_needed > 0:
                data = stream.recv(kms_context.bytes_needed)
                if not data:
                    raise OSError("the edge has ended the connection")
                kms_context.feed(data)

    def fetch_keys(self, filter):
        return [bson.encode(document) for document in self.keys.values()]

    def insert_data_key(self, data_key):
        document = bson.decode(data_key)
        self.keys[bytes(document["_id"])] = document
        return bytes(document["_id"])

    def bson_encode(self, doc):
        return bson.encode(doc)

    def collection_info(self, database, filter):
        raise AssertionError("a schema map says it")

    def mark_command(self, database, cmd):
        raise AssertionError("nothing is marked")

    def close(self):
        pass


def options(**more):
    return MongoCryptOptions({"kmip": {"endpoint": ENDPOINT}}, **more)


def encrypter(keys, cert=CERT, key=KEY):
    """A library that has seen nothing yet, so that every key has to be asked for."""
    return ExplicitEncrypter(Vault(cert, key, keys), options())


def fails(name, call):
    try:
        call()
    except (MongoCryptError, OSError) as error:
        case("%s: %s" % (name, str(error)[:60]), True)
    else:
        case("%s was done" % name, False)


def round_trip(label, master_key, delegated):
    """A data key under a master key at the edge, a field encrypted with it, and everything opened again by a program that was not there."""
    keys = {}
    maker = encrypter(keys)
    data_key = maker.create_data_key("kmip", master_key=master_key, key_alt_names=["invoices"])
    document = keys[data_key]
    master = document["masterKey"]
    case("%s: a data key" % label, master["provider"] == "kmip" and bool(master["keyId"]) and len(document["keyMaterial"]) >= 96)
    case("%s: the vault says who opens it" % label, bool(master.get("delegated")) == delegated)
    sealed = maker.encrypt(bson.encode({"v": "4111 1111 1111 1111"}), DETERMINISTIC, key_id=data_key)
    case("%s: a field is encrypted" % label, b"4111" not in sealed)

    reader = encrypter(keys)
    again = reader.encrypt(bson.encode({"v": "4111 1111 1111 1111"}), DETERMINISTIC, key_alt_name="invoices")
    case("%s: the same by another program, which asks the edge" % label, again == sealed and reader.callback.messages > 0)
    case("%s: the field is decrypted" % label, bson.decode(encrypter(keys).decrypt(sealed))["v"] == "4111 1111 1111 1111")
    random = reader.encrypt(bson.encode({"v": 7}), RANDOM, key_id=data_key)
    case("%s: a field at random" % label, bson.decode(reader.decrypt(random))["v"] == 7)

    automatic = AutoEncrypter(Vault(CERT, KEY, keys), options(bypass_encryption=True))
    stored = bson.encode({"_id": 1, "name": "Ada", "card": bson.decode(sealed)["v"]})
    read = bson.decode(automatic.decrypt(stored))
    case("%s: a stored document is decrypted by itself" % label, read == {"_id": 1, "name": "Ada", "card": "4111 1111 1111 1111"})
    fails("%s: another service cannot open it" % label, lambda: encrypter(keys, OTHER_CERT, OTHER_KEY).decrypt(sealed))
    return keys, data_key, sealed, master["keyId"]


def rewrapped(label, keys, data_key, sealed, master_key, old):
    """The data key comes under another master key; what it has encrypted stays as it is."""
    result = bson.decode(encrypter(keys).rewrap_many_data_key({}, "kmip", master_key))
    (after,) = result["v"]
    keys[data_key].update(keyMaterial=after["keyMaterial"], masterKey=after["masterKey"])
    case("%s: under another master key" % label, after["masterKey"]["keyId"] != old)
    case("%s: what was encrypted opens" % label, bson.decode(encrypter(keys).decrypt(sealed))["v"].startswith("4111"))
    return after["masterKey"]["keyId"]


with client_of(HOST, PORT, CA, CERT, KEY, enums.KMIPVersion.KMIP_1_4, tls=None) as governor:
    keys, data_key, sealed, master = round_trip("local", {}, False)
    got = governor.get(master)
    case("local: the master key is Secret Data of 96 bytes", len(got.value) == 96 and got.data_type == enums.SecretDataType.SEED)
    case("local: and Active", state(governor, master) == enums.State.ACTIVE)
    shared = encrypter(keys)
    second = shared.create_data_key("kmip", master_key={"keyId": master, "endpoint": ENDPOINT})
    case("local: a second data key under the same", keys[second]["masterKey"]["keyId"] == master)
    keys.pop(second)
    later = rewrapped("local", keys, data_key, sealed, {}, master)
    governor.revoke(enums.RevocationReasonCode.SUPERSEDED, master)
    governor.destroy(master)
    case("local: nobody needs the old one", bson.decode(encrypter(keys).decrypt(sealed))["v"].startswith("4111"))

    delegated_keys, delegated_data_key, delegated_sealed, delegated = round_trip("delegated", {"delegated": True}, True)
    (length,) = governor.get_attributes(delegated, ["Cryptographic Length"])[1]
    case("delegated: the master key is AES-256", length.attribute_value.value == 256 and state(governor, delegated) == enums.State.ACTIVE)
    held = rewrapped("from local to delegated", keys, data_key, sealed, {"delegated": True}, later)
    rewrapped("back to local", keys, data_key, sealed, {}, held)
    governor.revoke(enums.RevocationReasonCode.KEY_COMPROMISE, delegated)
    governor.destroy(delegated)
    fails("delegated: a destroyed master key opens nothing", lambda: encrypter(delegated_keys).decrypt(delegated_sealed))
    absent = {"keyId": str(uuid.uuid4()), "endpoint": ENDPOINT}
    fails("a master key that is not there", lambda: encrypter({}).create_data_key("kmip", master_key=absent))
finish("libmongocrypt")
