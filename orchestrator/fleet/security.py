"""TLS between client, scheduler and workers: a certificate authority of the fleet's own, and one certificate per role.

Whoever has a certificate of the authority may run code on every worker, as dask has no other rights than that; so the
authority is made for one fleet, and its key stays where the certificates are made.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wsklab.orchestrator.errors import UsageError

if TYPE_CHECKING:
    from distributed.security import Security

ROLES = ("scheduler", "worker", "client")
VARIABLE = "WSKLAB_FLEET_TLS"
"""In the environment: the folder with the certificates."""

DAYS = 825


def make(folder: Path, now: datetime | None = None) -> list[Path]:
    """Make an authority and a certificate for each role in an empty folder; returns the files. Raises UsageError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: holds something already; name another folder.")
        folder.chmod(0o700)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}.") from None
    now = now or datetime.now(UTC)
    authority = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsklab fleet")])
    certificate = _certificate(name, name, authority, authority, now, authority=True)
    made = [_write(folder / "ca-key.pem", _key(authority)), _write(folder / "ca.pem", _pem(certificate))]
    for role in ROLES:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"wsklab fleet {role}")])
        issued = _certificate(subject, name, key, authority, now, authority=False)
        made += [_write(folder / f"{role}-key.pem", _key(key)), _write(folder / f"{role}.pem", _pem(issued))]
    return made


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
    *,
    authority: bool,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


def security(address: str, role: str, folder: Path | None = None) -> Security | None:
    """Return what dask needs for an address; None for one that is not encrypted. Raises UsageError.

    The certificates are those of `folder`, or of the folder that WSKLAB_FLEET_TLS names; a site that has its own may
    name them as dask does (DASK_DISTRIBUTED__COMM__TLS__…).
    """
    from distributed.security import Security

    if not address.startswith("tls://"):
        return None
    found = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if found is None:
        own = Security(require_encryption=True)
        if getattr(own, "tls_ca_file", None):
            return own
        raise UsageError(
            f"tls:// needs certificates: set {VARIABLE} to a folder that `wsklab fleet certificates FOLDER` has made."
        )
    files: dict[str, Path] = {
        "tls_ca_file": found / "ca.pem",
        f"tls_{role}_cert": found / f"{role}.pem",
        f"tls_{role}_key": found / f"{role}-key.pem",
    }
    for path in files.values():
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file; a {role} needs ca.pem, {role}.pem and {role}-key.pem.")
    return Security(require_encryption=True, **{name: str(path) for name, path in files.items()})
