"""A publisher's certificate with its issuer, as files to sign with: it says what it is told to, and proves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from wsklab.drivers.sign import SigningKey

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)


def publisher(folder: Path, organization: str, purpose: str) -> SigningKey:
    """Make a certificate of `organization` for one purpose, issued by another one's."""
    folder.mkdir(parents=True, exist_ok=True)
    issuer, mine = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    above = _certificate("A Third Party CA", organization, "A Third Party CA", issuer, issuer, None)
    leaf = _certificate("A Publisher", organization, "A Third Party CA", mine, issuer, purpose)
    pair = SigningKey(folder / "publisher.pem", folder / "publisher.key")
    pair.certificate.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in (leaf, above)))
    pair.key.write_bytes(
        mine.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


def _certificate(
    name: str, organization: str, by: str, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, purpose: str | None
) -> x509.Certificate:
    def called(common: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )

    made = (
        x509.CertificateBuilder()
        .subject_name(called(name))
        .issuer_name(called(by))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(BEGINS + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=purpose is None, path_length=None), critical=True)
    )
    if purpose is not None:
        usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose), x509.ObjectIdentifier("1.3.6.1.5.5.7.3.3")])
        made = made.add_extension(usage, critical=False)
    return made.sign(signer, hashes.SHA256())
