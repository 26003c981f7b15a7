"""The answer file of one build. Not yet read by Windows Setup. Sources: windows-images.md 2.2 to 2.4 and 2.6."""

import xml.etree.ElementTree as ET

from wsklab.images.windows.answers.elements import answer_file, component, group, item, leaf, numbered
from wsklab.images.windows.answers.settings import COMPUTER, USER, Settings, obscured

_KEYBOARD = "0409:00000409"
_DRIVES = ("D", "E", "F", "G")
"""Letters that our disc may get: the Windows disc is D, ours the next, as long as nothing else is there."""
FIRST_LOGON = "firstlogon.cmd"
"""The script on our disc that the first logon runs."""
_LABCONFIG = ("BypassTPMCheck", "BypassSecureBootCheck", "BypassRAMCheck", "BypassCPUCheck", "BypassStorageCheck")


def make(settings: Settings) -> bytes:
    """`Autounattend.xml`."""
    return answer_file(
        [
            ("windowsPE", _windows_pe(settings)),
            ("offlineServicing", _offline()),
            ("specialize", _specialize(settings)),
            ("oobeSystem", _oobe(settings)),
        ]
    )


def say(settings: Settings, text: str) -> str:
    """Return a command that says a line on COM2 and never fails: a port that is missing must not end Setup.

    The redirection stands first: `echo rc=0> ...` would redirect handle 0.
    """
    return f'cmd.exe /c ">\\\\.\\COM2 echo {settings.marker(text)}& exit /b 0"'


def _registry(key: str, name: str, value: int) -> str:
    return f'reg.exe add "{key}" /v {name} /t REG_DWORD /d {value} /f'


def _soft(command: str) -> str:
    """Return a command whose failure must not end Setup: hibernation cannot be switched off where there is none."""
    return f'cmd.exe /c "{command} & exit /b 0"'


def _windows_pe(settings: Settings) -> list[ET.Element]:
    commands = [say(settings, "stage=windowsPE")]
    if settings.version.skip_hardware_checks:
        commands += [_registry(r"HKLM\SYSTEM\Setup\LabConfig", name, 1) for name in _LABCONFIG]
    language = settings.image.language
    return [
        component(
            "Microsoft-Windows-International-Core-WinPE",
            group("SetupUILanguage", leaf("UILanguage", language)),
            *_locale(language),
        ),
        component(
            "Microsoft-Windows-PnpCustomizationsWinPE",
            group(
                "DriverPaths",
                *(
                    item("PathAndCredentials", leaf("Path", f"{drive}:\\drivers\\setup"), key=number)
                    for number, drive in enumerate(_DRIVES, 1)
                ),
            ),
        ),
        component(
            "Microsoft-Windows-Setup",
            group("RunSynchronous", *numbered("RunSynchronousCommand", "Path", commands)),
            _disk(settings.firmware),
            group(
                "ImageInstall",
                group(
                    "OSImage",
                    leaf("WillShowUI", "OnError"),
                    group(
                        "InstallFrom",
                        item("MetaData", leaf("Key", "/IMAGE/INDEX"), leaf("Value", settings.image.index)),
                    ),
                    group(
                        "InstallTo",
                        leaf("DiskID", 0),
                        leaf("PartitionID", len(_partitions(settings.firmware))),
                    ),
                ),
            ),
            group("DynamicUpdate", leaf("Enable", False), leaf("WillShowUI", "Never")),
            group(
                "UserData",
                _product_key(settings),
                leaf("AcceptEula", True),
                leaf("FullName", USER),
                leaf("Organization", USER),
            ),
            group("Diagnostics", leaf("OptIn", False)),
        ),
    ]


def _product_key(settings: Settings) -> ET.Element:
    """Give the key. Evaluation media refuse any, and some an empty one: there the element says only how to fail."""
    key = settings.version.key(settings.image.edition)
    return group("ProductKey", *([leaf("Key", key)] if key else []), leaf("WillShowUI", "OnError"))


def _partitions(firmware: str) -> list[tuple[str, int | None, dict[str, str | bool]]]:
    """Type, size in MiB (None: the rest), and what is made of it. Windows goes into the last."""
    windows: dict[str, str | bool] = {"Format": "NTFS", "Label": "Windows", "Letter": "C"}
    if firmware == "ovmf":
        system: dict[str, str | bool] = {"Format": "FAT32", "Label": "System"}
        return [("EFI", 260, system), ("MSR", 16, {}), ("Primary", None, windows)]
    return [("Primary", 500, {"Active": True, "Format": "NTFS", "Label": "System"}), ("Primary", None, windows)]


def _disk(firmware: str) -> ET.Element:
    create, modify = group("CreatePartitions"), group("ModifyPartitions")
    for order, (kind, size, made) in enumerate(_partitions(firmware), 1):
        extent = leaf("Extend", True) if size is None else leaf("Size", size)
        create.append(item("CreatePartition", leaf("Order", order), leaf("Type", kind), extent))
        values = (leaf(tag, value) for tag, value in made.items())
        modify.append(item("ModifyPartition", leaf("Order", order), leaf("PartitionID", order), *values))
    disk = item("Disk", leaf("DiskID", 0), leaf("WillWipeDisk", True), create, modify)
    return group("DiskConfiguration", leaf("WillShowUI", "OnError"), disk)


def _offline() -> list[ET.Element]:
    """Without user account control the first logon's commands are elevated."""
    return [component("Microsoft-Windows-LUA-Settings", leaf("EnableLUA", False))]


def _specialize(settings: Settings) -> list[ET.Element]:
    commands = [
        say(settings, "stage=specialize"),
        _registry(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\OOBE", "BypassNRO", 1),
        r'reg.exe add "HKLM\SYSTEM\CurrentControlSet\Control\Network\NewNetworkWindowOff" /f',
        _registry(r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate\AU", "NoAutoUpdate", 1),
        _registry(r"HKLM\SYSTEM\CurrentControlSet\Control\BitLocker", "PreventDeviceEncryption", 1),
        _soft("net.exe accounts /maxpwage:UNLIMITED"),
        # A client sleeps after half an hour, which may be in the middle of its set-up.
        _soft("powercfg.exe /change standby-timeout-ac 0"),
        _soft("powercfg.exe /change monitor-timeout-ac 0"),
        _soft("powercfg.exe /hibernate off"),
    ]
    firewalls = (leaf(f"{profile}Profile_EnableFirewall", False) for profile in ("Domain", "Private", "Public"))
    components = [
        component("Microsoft-Windows-Shell-Setup", leaf("ComputerName", COMPUTER), leaf("TimeZone", "UTC")),
        component("Microsoft-Windows-Security-SPP-UX", leaf("SkipAutoActivation", True)),
        component("Microsoft-Windows-ErrorReportingCore", leaf("DisableWER", 1)),
        component("Networking-MPSSVC-Svc", *firewalls),
        component(
            "Microsoft-Windows-Deployment",
            group("RunSynchronous", *numbered("RunSynchronousCommand", "Path", commands)),
        ),
    ]
    if settings.version.kind == "server":
        components.append(
            component("Microsoft-Windows-ServerManager-SvrMgrNc", leaf("DoNotOpenServerManagerAtLogon", True))
        )
    return components


def _oobe(settings: Settings) -> list[ET.Element]:
    hidden = ("EULAPage", "LocalAccountScreen", "OEMRegistrationScreen", "OnlineAccountScreens", "WirelessSetupInOOBE")
    search = " ".join(_DRIVES)
    commands = [
        say(settings, "stage=firstlogon"),
        f'cmd.exe /c "for %d in ({search}) do if exist %d:\\{FIRST_LOGON} call %d:\\{FIRST_LOGON} {settings.nonce}"',
    ]
    return [
        component("Microsoft-Windows-International-Core", *_locale(settings.image.language)),
        component("Microsoft-Windows-SecureStartup-FilterDriver", leaf("PreventDeviceEncryption", True)),
        component(
            "Microsoft-Windows-Shell-Setup",
            group("OOBE", *(leaf(f"Hide{page}", True) for page in hidden), leaf("ProtectYourPC", 3)),
            group(
                "UserAccounts",
                _password("AdministratorPassword", settings.password),
                group(
                    "LocalAccounts",
                    item(
                        "LocalAccount",
                        leaf("Name", USER),
                        leaf("Group", "Administrators"),
                        _password("Password", settings.password),
                    ),
                ),
            ),
            group(
                "AutoLogon",
                leaf("Enabled", True),
                leaf("Username", USER),
                leaf("LogonCount", 3),
                _password("Password", settings.password),
            ),
            group("FirstLogonCommands", *numbered("SynchronousCommand", "CommandLine", commands)),
        ),
    ]


def _locale(language: str) -> list[ET.Element]:
    return [
        leaf("InputLocale", _KEYBOARD),
        leaf("SystemLocale", language),
        leaf("UILanguage", language),
        leaf("UserLocale", language),
    ]


def _password(tag: str, password: str) -> ET.Element:
    return group(tag, leaf("Value", obscured(password, tag)), leaf("PlainText", False))
