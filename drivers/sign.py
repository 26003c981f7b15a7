"""Test-signs a driver with a certificate made for this lab (docs/reference/wsk.md section 5).

Windows takes the result after `bcdedit /set testsigning on`, with Secure Boot off. The key stays in the cache, 0600.
"""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import DriverError

YEARS = 10


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A self-made code-signing certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


def signing_key(cache: Path, now: datetime.datetime) -> SigningKey:
    """Return the lab's certificate, made at the first call; valid from a day before `now`, for late clocks.

    Raises:
        DriverError: others may read its key.
    """
    folder = cache / "signing"
    pair = SigningKey(folder / "certificate.pem", folder / "key.pem")
    if pair.certificate.exists() and pair.key.exists():
        if pair.key.stat().st_mode & 0o077:
            raise DriverError(
                f"The signing key {pair.key} is open to others: run `chmod 600 {pair.key}`, or remove "
                f"{folder} if somebody may have read it; a new certificate is made then."
            )
        return pair
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wsklab test signing")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(pair.key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(private)
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return pair


def sign(driver: Path, signed: Path, pair: SigningKey, nested: bool = False) -> None:
    """Write `signed`, a signed copy of `driver`; `nested`: beside the signature that it has.

    Raises:
        DriverError: osslsigncode is missing, or refuses the file.
    """
    if shutil.which("osslsigncode") is None:
        raise DriverError("osslsigncode is missing: install the package osslsigncode.")
    options = ["-h", "sha256", "-n", "wsklab", "-certs", str(pair.certificate), "-key", str(pair.key)]
    options += ["-nest"] if nested else []
    signed.unlink(missing_ok=True)
    done = subprocess.run(
        ["osslsigncode", "sign", *options, "-in", str(driver), "-out", str(signed)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode or not signed.exists():
        raise DriverError(f"osslsigncode cannot sign {driver}: {(done.stdout + done.stderr).strip()}")


def verify(signed: Path, pair: SigningKey) -> None:
    """See that `signed` is whole, and signed with this certificate, as Windows will.

    Raises:
        DriverError: it is not, or osslsigncode is missing.
    """
    try:
        done = subprocess.run(
            ["osslsigncode", "verify", "-CAfile", str(pair.certificate), "-in", str(signed)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    except FileNotFoundError:
        raise DriverError("osslsigncode is missing: install the package osslsigncode.") from None
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        wrong = next((line for line in said if "MISMATCH" in line or "rror" in line), said[-1] if said else "no word")
        raise DriverError(f"The signature of {signed} does not hold ({wrong}): use `wsklab driver sign` again.")
