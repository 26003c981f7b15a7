"""A package of the sample server, as a team would ship it."""

from __future__ import annotations

from pathlib import Path

from wsklab import images
from wsklab.drivers.build import build_sample
from wsklab.drivers.profile import PROFILES

INF = r"""; UTF-16, as Visual Studio writes it
[Version]
Signature   = "$Windows NT$"
Class       = System
ClassGuid   = {{4d36e97d-e325-11ce-bfc1-08002be10318}}
Provider    = %Maker%
CatalogFile = echo.cat
DriverVer   = 11/02/2026,{version}
[SourceDisksNames]
1 = "Disk"
[SourceDisksFiles]
echo.sys = 1
[DestinationDirs]
DefaultDestDir = 12
[DefaultInstall.NTamd64]
CopyFiles = Drivers
[Drivers]
echo.sys
[DefaultInstall.NTamd64.Services]
AddService = echo, 0x800, Echo.Service
[Echo.Service]
ServiceType   = 1
StartType     = {start}
ErrorControl  = 1
ServiceBinary = %{place}%\echo.sys
Dependencies  = {needs}
[Strings]
Maker = "Example, Inc."
"""


def make(
    folder: Path, version: str = "1.4.0.0", start: int = 3, needs: str = "NDIS", place: int = 12, driver: bytes = b""
) -> Path:
    """Write the files of a package; returns its INF file."""
    folder.mkdir(parents=True, exist_ok=True)
    inf = folder / "echo.inf"
    inf.write_bytes(INF.format(version=version, start=start, needs=needs, place=place).encode("utf-16"))
    (folder / "echo.sys").write_bytes(driver or build_sample("echo", images.cache_folder()).path.read_bytes())
    return inf


def profile(folder: Path, more: str = "") -> Path:
    """Return a profile of the sample server which takes it from the package in `folder`."""
    text = (PROFILES / "echo.yaml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith(("target_path:", "#"))]
    (folder / "echo.yaml").write_text("\n".join(lines).replace("build: echo", "inf: echo.inf") + f"\n{more}\n")
    return folder / "echo.yaml"
