"""A company's certificate in place of a bare key: its chain, up to a root that the verifier has chosen.

Nothing here asks a network: whether a certificate was revoked is not checked. The time of signing is what the
statement says, as there is no time stamp of somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]  # it has no __all__

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release.envelope import Refused

LONGEST = 8
"""Certificates of a chain."""

Extension = TypeVar("Extension", bound=x509.ExtensionType)


def load(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, the signer's first. Raises UsageError."""
    try:
        found = parse(files.read_bytes(path, files.KEY))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {files.why(error)}.") from None
    except Refused:
        raise UsageError(f"{path}: there are no certificates in PEM in it.") from None
    return found


def parse(content: bytes) -> list[x509.Certificate]:
    """Return the certificates that these bytes are. Raises Refused."""
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Refused("its chain of certificates cannot be read") from None


def key_of(certificate: x509.Certificate) -> Key:
    """Return the key of a certificate. Raises Refused."""
    try:
        return SSlibKey.from_crypto(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        raise Refused("the key of its certificate is of a kind that is not known here") from None


def check(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], when: datetime) -> str:
    """Return the signer's name when the chain leads to one of the roots and held at `when`. Raises Refused."""
    if not chain or len(chain) > LONGEST:
        raise Refused(f"its chain has {len(chain)} certificates")
    leaf = chain[0]
    _may_sign(leaf)
    whole = list(chain)
    while len(whole) > 1 and whole[-1] in roots:
        whole.pop()
    for certificate, issuer in zip(whole, [*whole[1:], None], strict=True):
        _valid(certificate, when)
        if issuer is not None:
            _issued(certificate, issuer)
    if whole[-1] not in roots:
        root = next((root for root in roots if _is_issued(whole[-1], root)), None)
        if root is None:
            raise Refused("its chain of certificates does not lead to one of these roots")
        _valid(root, when)
    return leaf.subject.rfc4514_string()


def _may_sign(leaf: x509.Certificate) -> None:
    """Check that an extension that is there allows it; a certificate made by hand has none."""
    usage = _extension(leaf, x509.KeyUsage)
    if usage is not None and not usage.digital_signature:
        raise Refused("its certificate is not for signing (key usage)")
    extended = _extension(leaf, x509.ExtendedKeyUsage)
    if extended is not None and not {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *extended
    }:
        raise Refused("its certificate is not for signing code (extended key usage)")


def _valid(certificate: x509.Certificate, when: datetime) -> None:
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise Refused(f"the certificate of {certificate.subject.rfc4514_string()} did not hold on {when:%Y-%m-%d}")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_issued(certificate, issuer):
        raise Refused(f"{issuer.subject.rfc4514_string()} has not issued {certificate.subject.rfc4514_string()}")


def _is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except ValueError:
        raise Refused("an extension of its certificates cannot be read") from None
