"""Made-up media for the tests: a disc that looks like Windows' own, one like virtio-win's, and a disc that starts."""

import base64
import io
import json
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pycdlib

from wsklab.images.windows.media.installation_media import DRIVERS

SOURCE = Path(__file__).with_name("windows_setup.c")
SERVER_2022 = {"index": 2, "edition": "ServerStandardEval", "installation": "Server", "build": 20348,
               "title": "Windows Server 2022 Standard Evaluation (Desktop Experience)"}  # fmt: skip
MACS = {"wire": "52-54-00-77-00-10", "management": "52-54-00-0A-00-10"}


def wim_xml(images: Sequence[Mapping[str, object]]) -> str:
    """Return the description of a WIM file."""
    return (
        "<WIM>"
        + "".join(
            f'<IMAGE INDEX="{one["index"]}"><NAME>{escape(str(one["title"]))}</NAME>'
            f"<WINDOWS><ARCH>{one.get('arch', 9)}</ARCH><EDITIONID>{one['edition']}</EDITIONID>"
            f"<INSTALLATIONTYPE>{one['installation']}</INSTALLATIONTYPE>"
            f"<LANGUAGES><DEFAULT>en-US</DEFAULT></LANGUAGES><VERSION><BUILD>{one['build']}</BUILD></VERSION></WINDOWS>"
            "</IMAGE>"
            for one in images
        )
        + "</WIM>"
    )


def wim(xml: str) -> bytes:
    """Return a WIM file with this description and nothing else."""
    text = b"\xff\xfe" + xml.encode("utf-16-le")
    header = bytearray(208)
    header[:8] = b"MSWIM\0\0\0"
    struct.pack_into("<QQQ", header, 72, len(text) | 2 << 56, len(header), len(text))
    return bytes(header) + text


def windows_iso(path: Path, images: Sequence[Mapping[str, object]] = (SERVER_2022,),
                program: bytes | None = None) -> Path:  # fmt: skip
    """Return a disc like Microsoft's: everything in UDF, a text in ISO 9660. `program` is what UEFI starts from it."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, udf="2.60", vol_ident="SSS_X64FREE_EN-US_DV9")
    for folder in ("/sources", "/efi", "/efi/boot"):
        iso.add_directory(udf_path=folder)
    content = wim(wim_xml(images))
    for name, data in {"/sources/install.wim": content, "/efi/boot/bootx64.efi": b"MZ", "/bootmgr": b"x"}.items():
        iso.add_fp(io.BytesIO(data), len(data), udf_path=name)
    iso.add_fp(io.BytesIO(b"read UDF"), 8, iso_path="/README.TXT;1")
    if program is not None:
        volume = fat(program)
        iso.add_fp(io.BytesIO(volume), len(volume), iso_path="/EFI.IMG;1")
        iso.add_eltorito("/EFI.IMG;1", bootcatfile="/BOOT.CAT;1", platform_id=0xEF, efi=True,
                         boot_load_size=len(volume) // 512)  # fmt: skip
    iso.write(str(path))
    iso.close()
    return path


def virtio_iso(path: Path, folders: Sequence[str] = ("2k22",), leave_out: str = "") -> Path:
    """Return a disc like virtio-win's: Rock Ridge names, no Joliet."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, rock_ridge="1.09", vol_ident="virtio-win-0.1.285")
    for number, (driver, sign) in enumerate(DRIVERS.items()):
        if driver == leave_out:
            continue
        iso.add_directory(f"/D{number}", rr_name=driver)
        for at, folder in enumerate(folders):
            iso.add_directory(f"/D{number}/S{at}", rr_name=folder)
            iso.add_directory(f"/D{number}/S{at}/A", rr_name="amd64")
            names = [sign, sign.replace(".inf", ".sys"), sign.replace(".inf", ".cat"), sign.replace(".inf", ".pdb")]
            for count, name in enumerate(names):
                data = f"{driver} {folder} {name}".encode()
                iso.add_fp(io.BytesIO(data), len(data), f"/D{number}/S{at}/A/F{count}.;1", rr_name=name)
    iso.write(str(path))
    iso.close()
    return path


def report(**changes: object) -> dict[str, object]:
    """Return what a good guest says of itself."""
    cards = [{"name": name, "mac": mac, "driver": "x.sys", "status": "Up"} for name, mac in MACS.items()]
    return {"caption": "Made up", "edition": "ServerStandardEval", "build": 20348, "revision": 587,
            "code_integrity": 3, "print_filter": 15, "sshd": "absent", "ssh_host_key": "", "nics": cards,
            "licence_status": 1, "licence_minutes": 0, **changes}  # fmt: skip


def encoded(facts: Mapping[str, object]) -> str:
    """Return a report as it comes over the line."""
    return base64.b64encode(json.dumps(facts).encode()).decode()


def setup_program(folder: Path, *defines: str) -> bytes:
    """Compile `windows_setup.c` for UEFI."""
    target = folder / "bootx64.efi"
    subprocess.run(
        ["x86_64-w64-mingw32-gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-nostdlib",
         "-mno-red-zone", "-fno-stack-protector", "-shared", "-Wl,--subsystem,10", "-Wl,-e,efi_main",
         f'-DREPORT="{encoded(report())}"', *(f"-D{define}" for define in defines), "-o", str(target), str(SOURCE)],
        check=True)  # fmt: skip
    return target.read_bytes()


def fat(program: bytes) -> bytes:
    """Return a FAT12 volume with nothing but EFI/BOOT/BOOTX64.EFI, a sector per cluster (Microsoft's specification)."""
    clusters = 2 + -(-len(program) // 512)
    fat_sectors = -(-(clusters + 2) * 3 // 2 // 512)
    total = 1 + fat_sectors + 1 + clusters
    boot = bytearray(512)
    struct.pack_into("<3s8sHBHBHHBHHHII", boot, 0, b"\xeb\x3c\x90", b"WSKLAB  ", 512, 1, 1, 1, 16, total, 0xF8,
                     fat_sectors, 63, 255, 0, 0)  # fmt: skip
    struct.pack_into("<BBBI11s8s", boot, 36, 0x80, 0, 0x29, 1, b"WSKLAB     ", b"FAT12   ")
    boot[510:] = b"\x55\xaa"
    chain = [0xFF8, 0xFFF, 0xFFF, 0xFFF, *range(5, clusters + 2), 0xFFF]
    table = bytearray(fat_sectors * 512)
    for number, value in enumerate(chain):
        at, odd = number * 3 // 2, number % 2
        pair = struct.unpack_from("<H", table, at)[0] | (value << 4 if odd else value)
        struct.pack_into("<H", table, at, pair)

    def entry(name: bytes, attribute: int, cluster: int, size: int = 0) -> bytes:
        return struct.pack("<11sB14xHI", name.ljust(11), attribute, cluster, size)

    def sector(*entries: bytes) -> bytes:
        return b"".join(entries).ljust(512, b"\0")

    root = sector(entry(b"EFI", 0x10, 2))
    efi = sector(entry(b".", 0x10, 2), entry(b"..", 0x10, 0), entry(b"BOOT", 0x10, 3))
    folder = sector(entry(b".", 0x10, 3), entry(b"..", 0x10, 2), entry(b"BOOTX64 EFI", 0x20, 4, len(program)))
    return bytes(boot) + bytes(table) + root + efi + folder + program.ljust((clusters - 2) * 512, b"\0")
