"""What the drivers have alike: clients of one server, cases that are counted, and shapes of requests."""

import logging
import sys

from kmip.core import enums
from kmip.core.attributes import Name
from kmip.core.exceptions import OperationFailure
from kmip.core.factories.attributes import AttributeFactory
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure

VERSIONS = [getattr(enums.KMIPVersion, "KMIP_1_%d" % minor) for minor in range(5)]
MASK = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
CBC = {"block_cipher_mode": enums.BlockCipherMode.CBC, "padding_method": enums.PaddingMethod.PKCS5,
       "cryptographic_algorithm": enums.CryptographicAlgorithm.AES}
passed = 0

logging.disable(logging.CRITICAL)


def client_of(host, port, ca, cert, key, version, tls="PROTOCOL_TLSv1_2"):
    return ProxyKmipClient(hostname=host, port=int(port), cert=cert, key=key, ca=ca, ssl_version=tls, kmip_version=version, config="strongroom")


def case(name, holds):
    global passed
    print("%s %s" % ("ok    " if holds else "FAILED", name), flush=True)
    if not holds:
        sys.exit(1)
    passed += 1


def refused(name, reason, call):
    try:
        answer = call()
    except (KmipOperationFailure, OperationFailure) as failure:
        case("%s: %s" % (name, failure.reason.name), failure.reason == reason)
    else:
        case("%s was answered %r" % (name, answer), False)


def finish(client="PyKMIP"):
    print("%s: %d cases passed" % (client, passed))


def by_name(name):
    return [AttributeFactory().create_attribute(enums.AttributeType.NAME, name)]


def attribute(kind, value, index=None):
    return AttributeFactory().create_attribute(kind, value, index)


def name_value(text):
    return Name.create(text, enums.NameType.UNINTERPRETED_TEXT_STRING)


def state(who, key):
    _, (attribute,) = who.get_attributes(key, ["State"])
    return attribute.attribute_value.value
