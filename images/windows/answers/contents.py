"""What is on the lab's own disc, which a new Windows reads next to its installation disc."""

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


def make(settings: Settings, drivers: Mapping[str, bytes], inputs: Mapping[str, bytes],
         openssh: bytes | None) -> dict[str, bytes]:  # fmt: skip
    """Every file of the disc. Raises ImageError when the answer file would not be understood."""
    answer = answer_file.make(settings)
    if problems := lint.check(answer):
        raise ImageError(f"the answer file for {settings.version.title} is wrong: {'; '.join(problems)}; report this")
    files = {
        ANSWER_FILE: answer,
        DISC_TAG: settings.nonce.encode(),
        "settings.json": settings.for_scripts(),
        **scripts(),
        **{name: inputs[name] for name in INPUTS},
    }
    for path, content in drivers.items():
        use = "setup" if path.split("/")[0] in SETUP_DRIVERS else "later"
        files[f"drivers/{use}/{path}"] = content
    if openssh is not None:
        files[SSH_ARCHIVE] = openssh
    return files
