"""Checks of an answer file. Setup ignores a file it cannot read without a word and asks on a screen nobody sees, so
every file is checked before a machine is started with it. Sources: windows-images.md sections 2.1, 2.2 and 6.
"""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator

from wsklab.images.windows.answers.elements import IDENTITY, NAMESPACE, PASSES, WCM

LONGEST = {"Path": 259, "CommandLine": 1024}
"""Characters of a command, by its element."""
LONGEST_NAME = 15
COMPONENTS = {
    "windowsPE": {
        "Microsoft-Windows-International-Core-WinPE",
        "Microsoft-Windows-PnpCustomizationsWinPE",
        "Microsoft-Windows-Setup",
    },
    "offlineServicing": {
        "Microsoft-Windows-LUA-Settings",
        "Microsoft-Windows-DeviceGuard-Unattend",
        "Microsoft-Windows-PnpCustomizationsNonWinPE",
    },
    "specialize": {
        "Microsoft-Windows-Shell-Setup",
        "Microsoft-Windows-Deployment",
        "Microsoft-Windows-Security-SPP-UX",
        "Microsoft-Windows-ErrorReportingCore",
        "Microsoft-Windows-ServerManager-SvrMgrNc",
        "Networking-MPSSVC-Svc",
    },
    "oobeSystem": {
        "Microsoft-Windows-International-Core",
        "Microsoft-Windows-Shell-Setup",
        "Microsoft-Windows-SecureStartup-FilterDriver",
    },
}
"""The components known to belong to a pass, of those that the lab uses."""
_LISTED = {"Disk", "CreatePartition", "ModifyPartition", "MetaData", "RunSynchronousCommand", "SynchronousCommand",
           "LocalAccount", "PathAndCredentials"}  # fmt: skip
_N = f"{{{NAMESPACE}}}"


def check(content: bytes) -> list[str]:
    """All that is wrong with an answer file; nothing is what a good one has."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        return ["it is not ASCII"]
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        return [f"it is not well-formed: {error}"]
    return [*_lines(text), *_structure(root), *_values(root), *_disks(root), *_logon(root), *_names(root)]


def _lines(text: str) -> Iterator[str]:
    if text.count("\n") != text.count("\r\n"):
        yield "a line does not end with CRLF"


def _structure(root: ET.Element) -> Iterator[str]:
    if root.tag != f"{_N}unattend":
        yield f"the root is {root.tag}"
    passes = [settings.get("pass", "") for settings in root]
    if passes != [name for name in PASSES if name in passes]:
        yield f"the passes are {passes}"
    for settings in root:
        name = settings.get("pass", "")
        for component in settings:
            found = component.get("name", "")
            if found not in COMPONENTS.get(name, set()):
                yield f"{found} does not belong to the pass {name}"
            if any(component.get(key) != value for key, value in IDENTITY.items()):
                yield f"{found} has a wrong identity"
        for twice, count in Counter(component.get("name") for component in settings).items():
            if count > 1:
                yield f"{twice} is there {count} times in the pass {name}"


def _values(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        tag = element.tag.removeprefix(_N)
        text = (element.text or "").strip()
        if not len(element) and not text:
            yield f"{tag} is empty"
        if tag in LONGEST and len(text) > LONGEST[tag]:
            yield f"{tag} has {len(text)} characters, {LONGEST[tag]} are allowed: {text}"
        if tag in _LISTED and element.get(f"{{{WCM}}}action") != "add":
            yield f"{tag} has no wcm:action"
        if tag == "ComputerName" and len(text) > LONGEST_NAME:
            yield f"the computer name {text} has more than {LONGEST_NAME} characters"
        orders = [child.findtext(f"{_N}Order") for child in element if child.find(f"{_N}Order") is not None]
        if orders != [str(number) for number in range(1, len(orders) + 1)]:
            yield f"the order in {tag} is {orders}"


def _disks(root: ET.Element) -> Iterator[str]:
    """Check that the system goes to a partition that is made, on a disk that is there."""
    made = {
        (disk.findtext(f"{_N}DiskID"), created.findtext(f"{_N}Order"))
        for disk in root.iter(f"{_N}Disk")
        for created in disk.iter(f"{_N}CreatePartition")
    }
    for target in root.iter(f"{_N}InstallTo"):
        if (target.findtext(f"{_N}DiskID"), target.findtext(f"{_N}PartitionID")) not in made:
            yield "it installs to a partition that it does not make"


def _logon(root: ET.Element) -> Iterator[str]:
    accounts = {account.findtext(f"{_N}Name") for account in root.iter(f"{_N}LocalAccount")}
    for logon in root.iter(f"{_N}AutoLogon"):
        if logon.findtext(f"{_N}Username") not in accounts:
            yield "the user who logs on by himself is not made"


def _names(root: ET.Element) -> Iterator[str]:
    """Refuse an account named like its computer: no group would take it, as the name means the machine (0x8007056b)."""
    computers = {(name.text or "").strip().casefold() for name in root.iter(f"{_N}ComputerName")}
    for account in root.iter(f"{_N}LocalAccount"):
        name = account.findtext(f"{_N}Name", "").strip()
        if name.casefold() in computers:
            yield f"the user {name} has the name of the computer"
