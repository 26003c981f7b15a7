"""Who signs a release, and what it is compared with: the options of all commands that sign."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import click

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release import certificates, envelope, verify
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.release import Earlier, Signer

PASSWORD = "WSKLAB_KEY_PASSWORD"

FILE = click.Path(path_type=Path)

Function = TypeVar("Function", bound=Callable[..., None])


def signing(command: Function) -> Function:
    """Return the options of whatever signs."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Print the statement on standard output, and nothing else."
        ),
        click.option("--previous-key", type=FILE, metavar="PUB.pem", help="The key of that release  [default: ours]"),
        click.option("--previous", type=FILE, metavar="FILE", help="The statement on the last qualified release."),
        click.option(
            "--certificate", type=FILE, metavar="CHAIN.pem", help="The certificate of the key, its chain too."
        ),
        click.option("--key", type=FILE, metavar="KEY.pem", help=f"Sign with this private key (password: {PASSWORD})."),
    ):
        command = option(command)
    return command


def signer_of(key: Path | None, certificate: Path | None) -> Signer | None:
    """Return who signs. Raises UsageError."""
    if key is None:
        if certificate is not None:
            raise UsageError("--certificate goes with --key, which signs.")
        return None
    signer = envelope.signer(key, os.environ.get(PASSWORD))
    if certificate is None:
        return Signer(signer)
    chain = certificates.load(certificate)
    try:
        if certificates.key_of(chain[0]).keyid != signer.public_key.keyid:
            raise Refused("its first certificate is not of this key")
    except Refused as error:
        raise UsageError(f"{certificate}: {error}; the signer's own certificate comes first in it.") from None
    return Signer(signer, certificate.read_bytes())


def earlier_of(previous: Path | None, key: Path | None, signer: Signer | None) -> Earlier | None:
    """Return the last qualified release, verified with its key or with ours. Raises UsageError."""
    if previous is None:
        return None
    keys = [envelope.public_key(key)] if key else [signer.key.public_key] if signer else []
    if not keys:
        raise UsageError("--previous needs --previous-key, the public key with which it was signed.")
    try:
        found = verify.verify(
            previous, verify.Trust(tuple(keys)), datetime.now(UTC), rehearsal=True, alone=True
        ).predicate
    except Refused as error:
        raise UsageError(f"{previous}: not a release that could be compared with: {error}.") from None
    if not found.decision.go:
        raise UsageError(f"{previous}: it was no go; name the last release that was qualified.")
    return Earlier(found, sha256(previous.read_bytes()).hexdigest())
