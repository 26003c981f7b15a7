"""What is on the lab's own discs: one that Setup reads next to the installation disc, one that provisions Windows."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from wsklab.images.errors import ImageError
from wsklab.images.windows.answers import answer_file, lint
from wsklab.images.windows.answers.settings import DISC_TAG, Settings
from wsklab.images.windows.media.installation_media import SETUP_DRIVERS

GUEST = Path(__file__).parent / "guest"
ANSWER_FILE = "Autounattend.xml"
INPUTS = ("driver.cer", "wskagent.exe")
"""What the caller hands over: the certificate of test-signed drivers, and the agent."""
SSH_ARCHIVE = "OpenSSH.zip"
_FOR_SETUP = (answer_file.FIRST_LOGON, "start.cmd")
"""The scripts of the first disc. What is not on it can change without Windows being installed again."""


def scripts() -> dict[str, bytes]:
    """Our scripts as Windows wants them: ASCII, lines ending with CRLF."""
    found = {}
    for path in sorted(GUEST.iterdir()):
        text = path.read_bytes()
        found[path.name] = text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return found


def digest() -> str:
    """SHA-256 over all of ours that decides what a guest becomes."""
    total = hashlib.sha256()
    home = Path(__file__).parents[1]
    sources = [path for path in home.rglob("*") if path.suffix in (".py", ".yaml", ".ps1", ".cmd")]
    for source in sorted(sources):
        total.update(str(source.relative_to(home)).encode() + b"\0" + hashlib.sha256(source.read_bytes()).digest())
    return total.hexdigest()


def for_setup(settings: Settings, drivers: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every file of the disc that Setup reads. Raises ImageError when the answer file would not be understood."""
    answer = answer_file.make(settings)
    if problems := lint.check(answer):
        raise ImageError(f"the answer file for {settings.version.title} is wrong: {'; '.join(problems)}; report this")
    return {
        ANSWER_FILE: answer,
        DISC_TAG: settings.tag,
        **{name: content for name, content in scripts().items() if name in _FOR_SETUP},
        **{f"drivers/setup/{path}": content for path, content in drivers.items() if _in_setup(path)},
    }


def for_provisioning(settings: Settings, drivers: Mapping[str, bytes], inputs: Mapping[str, bytes],
                     openssh: bytes | None) -> dict[str, bytes]:  # fmt: skip
    """Every file of the disc that makes an installed Windows ready for tests."""
    files = {
        DISC_TAG: settings.tag,
        "settings.json": settings.for_scripts(),
        **{name: content for name, content in scripts().items() if name not in _FOR_SETUP},
        **{name: inputs[name] for name in INPUTS},
        **{f"drivers/{'setup' if _in_setup(path) else 'later'}/{path}": content for path, content in drivers.items()},
    }
    if openssh is not None:
        files[SSH_ARCHIVE] = openssh
    return files


def _in_setup(path: str) -> bool:
    """Whether Setup needs a driver: it must see the disk."""
    return path.split("/")[0] in SETUP_DRIVERS
