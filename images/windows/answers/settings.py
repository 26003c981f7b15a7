"""What one build of a Windows image is told: typed, made once, used by the answer file and the scripts."""

import base64
import json
import re
import secrets
import string
from dataclasses import dataclass, field

from wsklab.images.windows.media.catalogue import Version
from wsklab.images.windows.media.wim import WimImage

USER = "wsklab"
COMPUTER = "WSKLAB-TARGET"
"""Not the user's name: Windows would find the machine where the account is meant (error 0x8007056b)."""
DISC_LABEL = "WSKLAB"
DISC_TAG = "wsklab.tag"
"""The file on our discs that says whose they are: one line, `wsklab-nonce` and the nonce."""
PASSWORD_LENGTH = 24


@dataclass(frozen=True)
class Nic:
    """A network card, found by its MAC address, and its only address."""

    name: str
    mac: str
    addresses: tuple[str, ...]
    """With prefix length: `10.77.0.10/24`."""


@dataclass(frozen=True)
class Settings:
    """All that differs between two builds."""

    version: Version
    image: WimImage
    firmware: str
    """`ovmf` or `seabios`: it decides the partitions."""
    nonce: str
    password: str = field(repr=False)
    ssh_key: str
    """The public key that may log in."""
    nics: tuple[Nic, ...]
    ssh_zip: bool
    """An OpenSSH archive is on the disc."""

    def marker(self, text: str) -> str:
        """Return a line of set-up on COM2. The nonce tells it from that of any other build."""
        return f"{PREFIX} {self.nonce} {text}"

    @property
    def tag(self) -> bytes:
        """The content of `DISC_TAG`."""
        return f"wsklab-nonce {self.nonce}\r\n".encode("ascii")

    def for_scripts(self) -> bytes:
        """`settings.json` of the disc. The password is not in it: no script needs it."""
        return json.dumps(
            {
                "nonce": self.nonce,
                "user": USER,
                "kind": self.version.kind,
                "edition": self.image.edition,
                "build": self.image.build,
                "ssh_key": self.ssh_key,
                "ssh_zip": self.ssh_zip,
                "brings_ssh": self.version.brings_ssh,
                "nics": [{"name": n.name, "mac": n.mac, "addresses": list(n.addresses)} for n in self.nics],
            },
            indent=1,
        ).encode("ascii")


PREFIX = "WSKLAB-SETUP"


def random_nonce() -> str:
    """Eight hex digits."""
    return secrets.token_hex(4)


def random_password() -> str:
    """Return a password that every policy of Windows takes: letters of both cases and digits, nothing to quote."""
    alphabet = string.ascii_letters + string.digits
    while True:
        password = "".join(secrets.choice(alphabet) for _ in range(PASSWORD_LENGTH))
        if all(re.search(pattern, password) for pattern in ("[a-z]", "[A-Z]", "[0-9]")):
            return password


def obscured(password: str, purpose: str) -> str:
    """Return a password as an answer file holds it; `purpose` is the element's name. Hidden from a glance only."""
    return base64.b64encode(f"{password}{purpose}".encode("utf-16-le")).decode("ascii")
