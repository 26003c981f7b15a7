"""What a Windows image is told in tests."""

from __future__ import annotations

from wsklab.images.windows.answers.settings import Nic, Settings
from wsklab.images.windows.media import catalogue
from wsklab.images.windows.media.wim import WimImage

INPUTS = {"driver.cer": b"certificate", "wskagent.exe": b"MZ"}
PASSWORD = "Secret0Secret0Secret0Secr"


def settings_of(name: str, edition: str = "", firmware: str = "ovmf") -> Settings:
    version = catalogue.version(name)
    edition = edition or f"{version.editions[0]}Eval"
    installation = "Server" if version.kind == "server" else "Client"
    image = WimImage(3, "NAME", version.title, edition, installation, "x64", version.builds[0], "en-US")
    return Settings(version, image, firmware, "0badf00d", PASSWORD, "ssh-ed25519 AAAA",
                    (Nic("wire", "52:54:00:77:00:10", ("10.77.0.10/24",)),), ssh_zip=False)  # fmt: skip
