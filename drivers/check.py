"""Look at any driver file (.sys) and say what a Windows target or the stand-in would stumble over.

pefile reads the headers. The file is untrusted: what is read beyond them is bounded here, and a damaged file gives a
DriverError, never another exception.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from wsklab.common import files
from wsklab.common.text import quoted

from .errors import DriverError
from .standin_modules import STANDIN_MODULES, beyond_standin

if TYPE_CHECKING:
    from pefile import PE, SectionStructure

Severity = Literal["error", "warning", "note"]

MOST_MODULES, MOST_NAMES = 256, 8192
"""Modules that a driver imports from, and names that it imports from one; a damaged list may have no end."""

MOST_IMPORTS = 32768
"""Names in all: lists of a hostile file may overlap, and each be read anew for every module."""

MACHINE_X64 = 0x8664
SUBSYSTEM_NATIVE = 1
_EXECUTE, _WRITE = 0x20000000, 0x80000000
_PE32_PLUS = 0x20B
_HIGH_ENTROPY_VA, _DYNAMIC_BASE, _NX_COMPAT = 0x20, 0x40, 0x100

#: What netio.sys offers to WSK clients; other imports of it are Windows-only and unknown to the stand-in.
WSK_EXPORTS = frozenset({
    "WskRegister", "WskDeregister", "WskCaptureProviderNPI", "WskReleaseProviderNPI", "WskQueryProviderCharacteristics",
})  # fmt: skip

#: The modules a driver may import from; anything else does not exist in the kernel.
KERNEL_MODULES = frozenset({
    "ntoskrnl.exe", "hal.dll", "netio.sys", "ndis.sys", "fwpkclnt.sys", "wdfldr.sys", "fltmgr.sys", "cng.sys",
    "ksecdd.sys", "msrpc.sys", "wpprecorder.sys", "tdi.sys", "ci.dll", "bootvid.dll", "kdcom.dll",
})  # fmt: skip

#: Modules of user mode: a file that imports from one is no driver, whatever its header says. Any api-ms-win- is, too.
USER_MODULES = frozenset({
    "ntdll.dll", "kernel32.dll", "kernelbase.dll", "user32.dll", "gdi32.dll", "advapi32.dll", "shell32.dll",
    "ole32.dll", "ws2_32.dll", "wsock32.dll", "mswsock.dll", "msvcrt.dll", "ucrtbase.dll", "vcruntime140.dll",
    "msvcp140.dll",
})  # fmt: skip

_SUBSYSTEMS = {
    2: "a Windows program with windows",
    3: "a Windows console program",
    10: "a UEFI application",
    11: "a UEFI boot driver",
    12: "a UEFI run-time driver",
    16: "a boot application",
}
_DLL = 0x2000
_PIECE = 1 << 20
_MOST_SECTIONS = 96
_DESCRIPTOR, _THUNK = struct.Struct("<IIIII"), struct.Struct("<Q")  # IMAGE_IMPORT_DESCRIPTOR, IMAGE_THUNK_DATA64
_CERTIFICATE = struct.Struct("<IHH")  # WIN_CERTIFICATE


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing. `error`: it does not load; `warning`: not everywhere, or bad style."""

    severity: Severity
    sentence: str
    no_driver: bool = False
    """It says that the file is made for something else than the kernel."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section, as the header describes it."""

    name: str
    rva: int
    size: int
    offset: int
    raw_size: int
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the file is, and the findings, worst first."""

    machine: int
    subsystem: int
    timestamp: int
    checksum: int
    computed_checksum: int
    signed: bool
    imports: dict[str, tuple[str, ...]]
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]

    @property
    def loadable(self) -> bool:
        """No finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)


def check_file(path: Path) -> Report:
    """Read and check a driver file.

    Raises:
        DriverError: the file cannot be read, is no PE file, or is damaged.
    """
    try:
        return check_bytes(files.read_bytes(path, files.DRIVER))
    except OSError as error:
        raise DriverError(f"It cannot be read: {files.why(error)}.") from error


def check_bytes(data: bytes) -> Report:
    """Check the bytes of a driver file.

    Raises:
        DriverError: no PE file, or a damaged one.
    """
    return _check(_parse(data), data)


def with_checksum(data: bytes) -> bytes:
    """Return the bytes of a driver file with their checksum in its header. Raises DriverError for no PE file."""
    at = _parse(data).OPTIONAL_HEADER.get_file_offset() + 64
    return data[:at] + struct.pack("<I", _checksum(data, at)) + data[at + 4 :]


def _parse(data: bytes) -> PE:
    """Return the headers and sections. Raises DriverError."""
    if data[:2] != b"MZ":
        raise DriverError("This is no driver: it does not begin like a PE file.")
    at = int.from_bytes(data[0x3C:0x40], "little")
    if data[at : at + 4] != b"PE\0\0":
        raise DriverError("This is no driver: the PE header is missing.")
    import pefile  # 60 ms, which no run of a driver of our own needs

    try:
        # The directories are read below: what pefile makes of a hostile import table may fill the memory.
        pe = pefile.PE(data=data, fast_load=True)
    except pefile.PEFormatError as error:
        raise DriverError("This is no driver: the PE header is missing, or cut short.") from error
    except Exception as error:  # pefile stumbles in many ways over a damaged file
        raise DriverError("The file is damaged: its PE header cannot be read.") from error
    if pe.PE_TYPE != _PE32_PLUS:
        raise DriverError("This is a 32-bit file; the lab runs 64-bit Windows, which loads 64-bit drivers only.")
    if pe.FILE_HEADER.NumberOfSections > _MOST_SECTIONS:
        raise DriverError(f"The file is damaged: it claims {pe.FILE_HEADER.NumberOfSections} sections.")
    if len(pe.sections) != pe.FILE_HEADER.NumberOfSections or any(len(s.Name) != 8 for s in pe.sections):
        raise DriverError("The file is cut short or damaged: its table of sections is not whole.")
    return pe


def _check(pe: PE, data: bytes) -> Report:
    header = pe.OPTIONAL_HEADER

    def directory(index: int) -> tuple[int, int]:
        if index >= len(header.DATA_DIRECTORY):
            return 0, 0
        return header.DATA_DIRECTORY[index].VirtualAddress, header.DATA_DIRECTORY[index].Size

    machine, timestamp, library = pe.FILE_HEADER.Machine, pe.FILE_HEADER.TimeDateStamp, pe.FILE_HEADER.Characteristics
    subsystem, entry, checksum = header.Subsystem, header.AddressOfEntryPoint, header.CheckSum
    sections = tuple(_section(entry) for entry in pe.sections)
    imports = _imports(pe, directory(1)[0])
    signed = _is_signed(data, *directory(4))
    computed = _checksum(data, header.get_file_offset() + 64)
    findings = [
        *_header_findings(machine, subsystem, bool(library & _DLL), header.DllCharacteristics, entry, directory(5)[1]),
        *_import_findings(imports, bool(entry)),
        *_section_findings(sections),
    ]
    if checksum != computed:
        findings.append(
            Finding("error", f"The checksum is {checksum:#x} but should be {computed:#x}: Windows refuses it.")
        )
    if not signed:
        findings.append(
            Finding("warning", "The file is not signed: 64-bit Windows refuses it; use `wsklab driver sign`.")
        )
    order: dict[Severity, int] = {"error": 0, "warning": 1, "note": 2}
    findings.sort(key=lambda finding: order[finding.severity])
    return Report(machine, subsystem, timestamp, checksum, computed, signed, imports, sections, tuple(findings))


def _section(header: SectionStructure) -> Section:
    return Section(
        quoted(header.Name.rstrip(b"\0").decode("ascii", "replace")),
        header.VirtualAddress,
        header.Misc_VirtualSize,
        header.PointerToRawData,
        header.SizeOfRawData,
        bool(header.Characteristics & _WRITE),
        bool(header.Characteristics & _EXECUTE),
    )


def _read(pe: PE, rva: int, size: int) -> bytes:
    """Return up to `size` bytes at an address. Raises DriverError where no section is, or nothing of it in the file."""
    found = pe.get_section_by_rva(rva)
    data = bytes(found.get_data(rva, size)) if found else b""
    if not data:
        raise DriverError(f"The file is damaged: address {rva:#x} is in no section.")
    return data


def _unpack(pe: PE, layout: struct.Struct, rva: int) -> tuple[int, ...]:
    data = _read(pe, rva, layout.size)
    if len(data) < layout.size:
        raise DriverError(f"The file is cut short: address {rva:#x} is behind its end.")
    return layout.unpack(data)


def _text(pe: PE, rva: int) -> str:
    text, end, _ = _read(pe, rva, 512).partition(b"\0")
    if not end:
        raise DriverError("The file is damaged: an import's name has no end.")
    return quoted(text.decode("ascii", "replace"))


def _imports(pe: PE, rva: int) -> dict[str, tuple[str, ...]]:
    """Return the imported names by module, as they are spelled; ordinals as "#7"."""
    found: dict[str, tuple[str, ...]] = {}
    if not rva:
        return found
    total = 0
    for number in range(MOST_MODULES):
        names_rva, _, _, module_rva, addresses_rva = _unpack(pe, _DESCRIPTOR, rva + number * _DESCRIPTOR.size)
        if not module_rva:
            return found
        module = _text(pe, module_rva)
        names = _imported_names(pe, names_rva or addresses_rva)
        found[module] = found.get(module, ()) + names
        total += len(names)
        if total > MOST_IMPORTS:
            raise DriverError(f"The file is damaged: it imports more than {MOST_IMPORTS} names.")
    raise DriverError("The file is damaged: its list of imported modules has no end.")


def _imported_names(pe: PE, rva: int) -> tuple[str, ...]:
    names: list[str] = []
    for number in range(MOST_NAMES):
        (thunk,) = _unpack(pe, _THUNK, rva + number * _THUNK.size)
        if not thunk:
            return tuple(names)
        names.append(f"#{thunk & 0xFFFF}" if thunk >> 63 else _text(pe, (thunk & 0x7FFFFFFF) + 2))
    raise DriverError("The file is damaged: a list of imported names has no end.")


def _is_signed(data: bytes, offset: int, size: int) -> bool:
    """Return whether a PKCS#7 certificate is embedded; its directory holds a file offset. It is not verified here."""
    if not size:
        return False
    if offset + _CERTIFICATE.size > len(data):
        raise DriverError("The file is cut short: its certificate would be behind its end.")
    length, _revision, kind = _CERTIFICATE.unpack_from(data, offset)
    return bool(kind == 2 and 8 < length <= len(data) - offset)


def _checksum(data: bytes, at: int) -> int:
    """Return the PE checksum: 16-bit one's complement sum of the file without the field, plus the file's length."""
    padded = data[:at] + bytes(4) + data[at + 4 :] + bytes(-len(data) % 4)
    total = sum(
        sum(struct.unpack(f"<{len(piece) // 4}I", piece))
        for piece in (padded[start : start + _PIECE] for start in range(0, len(padded), _PIECE))
    )
    total = (total & 0xFFFFFFFF) + (total >> 32)
    total = (total & 0xFFFFFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return int(total & 0xFFFF) + len(data)


def _header_findings(
    machine: int, subsystem: int, library: bool, dll: int, entry: int, relocations: int
) -> list[Finding]:
    found = []
    if machine != MACHINE_X64:
        found.append(Finding("error", f"The machine type is {machine:#x}, not x64 ({MACHINE_X64:#x})."))
    if subsystem != SUBSYSTEM_NATIVE:
        kind = _SUBSYSTEMS.get(subsystem, "something unknown")
        what = f"a user-mode DLL ({kind})" if library and subsystem in (2, 3) else kind
        sentence = (
            f"The subsystem is {subsystem}, not native ({SUBSYSTEM_NATIVE}): this is {what}, no driver; "
            "link it with /SUBSYSTEM:NATIVE and /DRIVER (mingw: -Wl,--subsystem,native)."
        )
        found.append(Finding("error", sentence, no_driver=True))
    if not entry:
        found.append(Finding("warning", "There is no entry point, so no DriverEntry: this is an export library."))
    if not relocations:
        found.append(Finding("error", "There are no relocations: it can only be loaded at its preferred address."))
    for bit, name in (
        (_DYNAMIC_BASE, "DYNAMIC_BASE"),
        (_NX_COMPAT, "NX_COMPAT"),
        (_HIGH_ENTROPY_VA, "HIGH_ENTROPY_VA"),
    ):
        if not dll & bit:
            found.append(Finding("warning", f"The header does not say {name}."))
    return found


def _import_findings(imports: dict[str, tuple[str, ...]], driver: bool) -> list[Finding]:
    found = []
    for module, names in imports.items():
        if module.lower() in USER_MODULES or module.lower().startswith("api-ms-win-"):
            found.append(
                Finding(
                    "error",
                    f"It imports from {module}, which exists in user mode only: this is no driver.",
                    no_driver=True,
                )
            )
        elif module.lower() not in KERNEL_MODULES:
            found.append(
                Finding("warning", f"It imports from {module}, which is no module this lab knows in the kernel.")
            )
        elif module.lower() not in STANDIN_MODULES:
            found.append(Finding("note", beyond_standin(module, names)))
        if module.lower() == "netio.sys":
            for name in sorted(set(names) - WSK_EXPORTS):
                found.append(Finding("note", f"It imports {name} from {module}; the stand-in target does not have it."))
    if driver and not any(module.lower() == "netio.sys" for module in imports):
        found.append(
            Finding(
                "warning",
                "It does not import from NETIO.SYS: it is no WSK client, or binds to WSK otherwise.",
            )
        )
    return found


def _section_findings(sections: tuple[Section, ...]) -> list[Finding]:
    found = []
    for section in sections:
        if section.writable and section.executable:
            sentence = f"Section {section.name} is writable and executable: memory integrity (HVCI) refuses it."
            found.append(Finding("error", sentence))
    return found
