"""Who has signed a driver, by its own signature or its catalog, and whether Windows with Secure Boot takes such. Pure.

Nothing here proves that a certificate is genuine: Microsoft's roots are in Windows, which alone verifies the chain.
Formats: Microsoft, "Windows Authenticode Portable Executable Signature Format"; RFC 2315 (PKCS #7). Rules: Microsoft,
"Driver Signing Policy", "Hardware dev center: attestation signing".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from wsklab.common.text import quoted

from . import catalog, der
from .errors import DriverError

MICROSOFT = "Microsoft Corporation"
GRADES = {
    "1.3.6.1.4.1.311.10.3.5": "tested for its logo (WHQL)",
    "1.3.6.1.4.1.311.10.3.5.1": "attested",
    "1.3.6.1.4.1.311.10.3.39": "verified (extended)",
    "1.3.6.1.4.1.311.10.3.6": "a part of Windows",
}
"""Purposes of a certificate under which Microsoft signs drivers, in words."""

MOST = 8
"""Signatures that a file is looked at for: one may be nested in another."""

_INDIRECT_DATA = der.oid("1.3.6.1.4.1.311.2.1.4")
_NESTED = der.oid("1.3.6.1.4.1.311.2.4.1")
_ALGORITHMS = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}
_CERTIFICATE = struct.Struct("<IHH")  # WIN_CERTIFICATE
_SIGNED_DATA_KIND = 2


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature; names and purposes are those of the signer's certificate."""

    signer: str
    issuer: str
    organization: str
    purposes: frozenset[str]
    holds: bool
    """Whether the driver is as it was when it was signed."""
    of: str
    """What has the signature: the driver's file, or its catalog."""

    @property
    def grade(self) -> str | None:
        """In which way Microsoft has signed it, by the certificate's own words; None where it has not."""
        if self.organization != MICROSOFT:
            return None
        return next((words for purpose, words in GRADES.items() if purpose in self.purposes), None)

    @property
    def text(self) -> str:
        """Return it in words."""
        grade = self.grade
        how = f", {grade}" if grade else ""
        state = "" if self.holds else "; it was changed afterwards"
        return f"{self.of} is signed by {self.signer}{how}; issued by {self.issuer}{state}"


def of_driver(content: bytes) -> list[Signature]:
    """Return the signatures that a driver's file carries. Raises DriverError for a damaged one."""
    blob = _embedded(content)
    return [] if blob is None else list(_signatures(blob, "the file", lambda digest: _is_of(digest, content)))


def of_catalog(data: bytes, driver: bytes) -> list[Signature]:
    """Return the signatures of a catalog, which hold if it has the hash of `driver`. Raises DriverError."""
    listed = catalog.read(data)
    return list(_signatures(data, "the catalog", lambda _: listed.holds(driver))) if listed.signed else []


def production(signatures: list[Signature]) -> bool:
    """Whether one of them is what Windows asks for under Secure Boot, if it is genuine."""
    return any(one.grade is not None and one.holds for one in signatures)


def _embedded(content: bytes) -> bytes | None:
    """Return the first PKCS #7 message of a program's table of certificates; None where there is none."""
    if content[:2] != b"MZ" or len(content) < 0x40:
        return None
    (header,) = struct.unpack_from("<I", content, 0x3C)
    if header + 24 + 168 > len(content):
        return None
    (magic,) = struct.unpack_from("<H", content, header + 24)
    at, size = struct.unpack_from("<II", content, header + 24 + (144 if magic == 0x20B else 128))
    if not size:
        return None
    if at + _CERTIFICATE.size > len(content):
        raise DriverError("the signature is cut short")
    length, _, kind = _CERTIFICATE.unpack_from(content, at)
    return content[at + _CERTIFICATE.size : at + length] if kind == _SIGNED_DATA_KIND else None


def _signatures(blob: bytes, of: str, holds: Callable[[bytes], bool]) -> Iterator[Signature]:
    messages = [blob]
    for _ in range(MOST):
        if not messages:
            return
        try:
            _, content = der.parse(messages.pop(0)).children()[:2]
            (message,) = content.children()
            parts = message.children()
            signers = parts[-1].children() if parts[-1].tag == der.SET else []
            certificates = _certificates(parts)
            digest = _digest(parts[2])
            messages += [_encoded(one) for found in parts[-1].find(_NESTED) for one in _values(found)]
            found = [_signature(one, certificates, of, holds(digest)) for one in signers]
        except (ValueError, IndexError, x509.DuplicateExtension) as error:
            raise DriverError(f"the signature of {of.removeprefix('the ')} cannot be read ({error})") from None
        yield from found


def _signature(signer: der.Node, certificates: dict[int, x509.Certificate], of: str, holds: bool) -> Signature:
    """Return what a SignerInfo says: {version, {issuer, serial number}, ...}; its certificate is in the message."""
    _, number = signer.children()[1].children()
    certificate = certificates.get(int.from_bytes(number.content, "big"))
    if certificate is None:
        raise ValueError("the signer's certificate is not in it")
    return Signature(
        _name(certificate.subject, NameOID.COMMON_NAME),
        _name(certificate.issuer, NameOID.COMMON_NAME),
        _name(certificate.subject, NameOID.ORGANIZATION_NAME),
        _purposes(certificate),
        holds,
        of,
    )


def _certificates(parts: list[der.Node]) -> dict[int, x509.Certificate]:
    found: dict[int, x509.Certificate] = {}
    for part in parts:
        if part.tag == 0xA0:
            for one in part.children():
                certificate = x509.load_der_x509_certificate(_encoded(one))
                found[certificate.serial_number] = certificate
    return found


def _digest(content: der.Node) -> bytes:
    """Return the digest that a program's signature is about; of another message b""."""
    for found in content.find(_INDIRECT_DATA):
        indirect = found.children()[1].children()[0]
        return indirect.children()[1].children()[1].content
    return b""


def _values(attribute: der.Node) -> list[der.Node]:
    return attribute.children()[1].children()


def _is_of(digest: bytes, content: bytes) -> bool:
    algorithm = _ALGORITHMS.get(len(digest))
    return algorithm is not None and catalog.hash_of(content, algorithm)[0] == digest


def _purposes(certificate: x509.Certificate) -> frozenset[str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.EXTENDED_KEY_USAGE)
    except x509.ExtensionNotFound:
        return frozenset()
    assert isinstance(extension.value, x509.ExtendedKeyUsage)
    return frozenset(one.dotted_string for one in extension.value)


def _name(name: x509.Name, which: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(which)
    return quoted(str(found[0].value)) if found else "nobody by name"


def _encoded(node: der.Node) -> bytes:
    return der.tagged(node.tag, node.content)
