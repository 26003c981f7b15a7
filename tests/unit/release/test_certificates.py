"""A company's certificate in place of a key: its chain leads to a root that the verifier has chosen."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from support.qualified import NOW, qualified, statement_of

from wsklab.orchestrator.release import certificates
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.release import CHAIN, Signer
from wsklab.orchestrator.release.verify import Trust, verify

Made = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def made(
    name: str,
    issuer: Made | None = None,
    *,
    ca: bool = False,
    usage: x509.ObjectIdentifier | None = None,
    until: datetime = NOW + timedelta(days=30),
) -> Made:
    """Return a certificate and its key, issued by itself or by another."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=issuer[0].subject if issuer else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW - timedelta(days=30),
        not_valid_after=until,
    ).add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


@pytest.fixture(scope="module")
def root() -> Made:
    """Provide a company's root."""
    return made("Root", ca=True)


@pytest.fixture(scope="module")
def middle(root: Made) -> Made:
    """Provide what issues its certificates."""
    return made("Issuer", root, ca=True)


def test_a_chain_to_a_chosen_root_holds(root: Made, middle: Made) -> None:
    leaf = made("Release team", middle, usage=ExtendedKeyUsageOID.CODE_SIGNING)
    for chain in ([leaf[0], middle[0]], [leaf[0], middle[0], root[0]]):
        assert certificates.check(chain, [root[0]], NOW) == "CN=Release team"
    assert certificates.check([root[0]], [root[0]], NOW) == "CN=Root"


def test_what_does_not_lead_to_a_root_is_refused(root: Made, middle: Made) -> None:
    leaf, stranger = made("Release team", middle), made("Root", ca=True)
    no_ca = made("Not an issuer", middle)
    for chain, roots, when, says in (
        ([leaf[0], middle[0]], [stranger[0]], NOW, "does not lead to one of these roots"),
        ([leaf[0]], [root[0]], NOW, "does not lead to one of these roots"),
        ([leaf[0], root[0]], [root[0]], NOW, "does not lead to one of these roots"),
        ([leaf[0], middle[0]], [root[0]], NOW + timedelta(days=31), "did not hold on"),
        ([made("x", no_ca)[0], no_ca[0], middle[0]], [root[0]], NOW, "has not issued"),
        ([leaf[0], stranger[0], middle[0]], [root[0]], NOW, "has not issued"),
        ([made("x", root, usage=ExtendedKeyUsageOID.SERVER_AUTH)[0]], [root[0]], NOW, "not for signing code"),
        ([], [root[0]], NOW, "has 0 certificates"),
        ([leaf[0]] * 9, [root[0]], NOW, "has 9 certificates"),
    ):
        with pytest.raises(Refused, match=says):
            certificates.check(chain, roots, when)


def test_a_release_that_is_signed_with_a_certificate_is_verified_by_its_root(
    tmp_path: Path, root: Made, middle: Made
) -> None:
    leaf = made("Release team", middle)
    chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf[0], middle[0]))
    path = statement_of(qualified(tmp_path, signer=Signer(CryptoSigner(leaf[1]), chain)))
    assert verify(path, Trust(roots=(root[0],)), NOW).signer == "CN=Release team"
    with pytest.raises(Refused, match="does not lead"):
        verify(path, Trust(roots=(made("Root", ca=True)[0],)), NOW)
    beside = path.parent / CHAIN
    beside.write_bytes(chain + b"\n")
    with pytest.raises(Refused, match=r"signer-certificates\.pem is not what it was"):
        verify(path, Trust(roots=(root[0],)), NOW)
    beside.write_bytes(b"nothing")
    with pytest.raises(Refused, match="cannot be read"):
        verify(path, Trust(roots=(root[0],)), NOW)
