"""A statement in its DSSE envelope: signed with a key, opened only with a key that comes from elsewhere.

An envelope has one form on disk, byte for byte, so that nothing in the file is left unchecked: what the signature
does not cover (white space, the ends of base64) must be as it was written. Protocol: secure-systems-lab/dsse.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Key, SSlibKey  # type: ignore[attr-defined]  # it has no __all__

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError

TYPE = "application/vnd.in-toto+json"


class Refused(ValueError):
    """A file that is not what was signed; the message says why, in a clause."""


def signer(path: Path, password: str | None = None) -> CryptoSigner:
    """Return what signs with the private key in a PEM file (PKCS #8). Raises UsageError."""
    try:
        content = files.read_bytes(path, files.KEY)
        return CryptoSigner(serialization.load_pem_private_key(content, password.encode() if password else None))
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {files.why(error)}.") from None
    except TypeError:
        raise UsageError(
            f"{path}: the key is encrypted, or it is not and a password was given; "
            "its password is read from WSKLAB_KEY_PASSWORD."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path}: no private key in PEM that could sign (Ed25519, ECDSA or RSA), or the password is wrong; "
            "make one with `openssl genpkey -algorithm ed25519`."
        ) from None


def public_key(path: Path) -> SSlibKey:
    """Return the public key in a PEM file. Raises UsageError."""
    try:
        return SSlibKey.from_crypto(serialization.load_pem_public_key(files.read_bytes(path, files.KEY)))
    except OSError as error:
        raise UsageError(f"{path}: the key cannot be read: {files.why(error)}.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(
            f"{path}: no public key in PEM; make it with `openssl pkey -in KEY -pubout`, on the signer's machine."
        ) from None


def signed(payload: bytes, by: CryptoSigner) -> bytes:
    """Return the envelope, as it is on disk, of a statement."""
    envelope = Envelope(payload, TYPE, {})
    signature = envelope.sign(by)
    return _written(payload, signature.keyid, bytes.fromhex(signature.signature))


def opened(content: bytes, keys: Sequence[Key]) -> bytes:
    """Return the statement in an envelope that one of these keys has signed. Raises Refused."""
    try:
        document = json.loads(content)
        (signature,) = document["signatures"]
        payload, sig, keyid = b64decode(document["payload"]), b64decode(signature["sig"]), str(signature["keyid"])
        if document["payloadType"] != TYPE or _written(payload, keyid, sig) != content:
            raise ValueError
        envelope = Envelope.from_dict(document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("it is not an envelope with one signature as `wsklab qualify` writes it") from None
    try:
        envelope.verify(list(keys), 1)
    except (VerificationError, ValueError):
        raise Refused("its signature is not of this key, or it was changed after it was signed") from None
    return payload


def keyid(content: bytes) -> str:
    """Return the id of the key that has signed an envelope which was `opened`: before that it is but a word."""
    return str(json.loads(content)["signatures"][0]["keyid"])


def _written(payload: bytes, keyid: str, sig: bytes) -> bytes:
    document = {
        "payload": b64encode(payload).decode(),
        "payloadType": TYPE,
        "signatures": [{"keyid": keyid, "sig": b64encode(sig).decode()}],
    }
    return json.dumps(document, indent=1).encode() + b"\n"
