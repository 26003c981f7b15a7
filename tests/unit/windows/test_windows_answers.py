"""Answer files, read back by other code than made them; and the checks that stand before every build."""

import base64
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from support.windows_settings import PASSWORD, settings_of

from wsklab.images.windows.answers import answer_file, lint
from wsklab.images.windows.answers.settings import obscured, random_password
from wsklab.images.windows.media import catalogue

NS = {"u": "urn:schemas-microsoft-com:unattend"}
WCM = "{http://schemas.microsoft.com/WMIConfig/2002/State}"


def made(name: str, **changes: str) -> ET.Element:
    return ET.fromstring(answer_file.make(settings_of(name, **changes)))


def texts(root: ET.Element, tag: str) -> list[str]:
    return [element.text or "" for element in root.iter(f"{{{NS['u']}}}{tag}")]


def components(root: ET.Element, name: str) -> set[str]:
    return {c.get("name", "") for c in root.findall(f"u:settings[@pass='{name}']/u:component", NS)}


@pytest.mark.parametrize("firmware", ["ovmf", "seabios"])
@pytest.mark.parametrize("name", catalogue.names())
def test_every_version_has_an_answer_file_without_a_fault(name: str, firmware: str) -> None:
    for edition in (f"{catalogue.version(name).editions[0]}Eval", *catalogue.version(name).editions):
        content = answer_file.make(settings_of(name, edition, firmware))
        assert lint.check(content) == []
        assert content.startswith(b'<?xml version="1.0" encoding="utf-8"?>\r\n<unattend xmlns="urn:schemas-microsoft')
        assert content.isascii()


def test_the_same_settings_make_the_same_bytes() -> None:
    assert answer_file.make(settings_of("windows-2022")) == answer_file.make(settings_of("windows-2022"))


def test_passes_and_their_components() -> None:
    root = made("windows-2022")
    assert [s.get("pass") for s in root] == ["windowsPE", "offlineServicing", "specialize", "oobeSystem"]
    assert "Microsoft-Windows-ServerManager-SvrMgrNc" in components(root, "specialize")
    assert "Microsoft-Windows-ServerManager-SvrMgrNc" not in components(made("windows-11"), "specialize")
    for component in root.findall("u:settings/u:component", NS):
        assert component.get("processorArchitecture") == "amd64" and component.get("versionScope") == "nonSxS"


def test_only_windows_11_is_told_to_skip_the_hardware_checks() -> None:
    assert sum("LabConfig" in path for path in texts(made("windows-11"), "Path")) == 5
    for name in set(catalogue.names()) - {"windows-11"}:
        assert not any("LabConfig" in path for path in texts(made(name), "Path"))


def test_a_key_is_given_for_licensed_media_only() -> None:
    assert made("windows-2022").findall(".//u:ProductKey/u:Key", NS) == []
    licensed = made("windows-2022", edition="ServerStandard")
    assert [key.text for key in licensed.findall(".//u:ProductKey/u:Key", NS)] == ["VDYBN-27WPP-V4HQT-9VMD4-VMK7H"]


@pytest.mark.parametrize(
    ("firmware", "kinds", "target"),
    [("ovmf", ["EFI", "MSR", "Primary"], "3"), ("seabios", ["Primary", "Primary"], "2")],
)
def test_the_firmware_decides_the_partitions(firmware: str, kinds: list[str], target: str) -> None:
    root = made("windows-2022", firmware=firmware)
    assert texts(root, "Type") == kinds
    assert root.findtext(".//u:InstallTo/u:PartitionID", "", NS) == target
    assert root.findtext(".//u:MetaData/u:Value", "", NS) == "3"  # the image's index in the WIM


def test_markers_go_to_com2_with_the_nonce_redirection_first() -> None:
    said = [one for one in [*texts(made("windows-2022"), "Path"), *texts(made("windows-2022"), "CommandLine")]
            if "echo" in one]  # fmt: skip
    assert [one.partition("echo ")[2] for one in said] == [
        f'WSKLAB-SETUP 0badf00d stage={stage}& exit /b 0"' for stage in ("windowsPE", "specialize", "firstlogon")
    ]
    assert all(one.startswith(r'cmd.exe /c ">\\.\COM2 echo ') for one in said)


def test_the_password_is_obscured_as_windows_wants_and_nowhere_else() -> None:
    root = made("windows-2022")
    values = {}
    for parent in root.iter():
        for value in parent.findall("u:Value", NS):
            if parent.find("u:PlainText", NS) is not None:
                values[parent.tag.partition("}")[2]] = base64.b64decode(value.text or "").decode("utf-16-le")
    assert values == {"AdministratorPassword": f"{PASSWORD}AdministratorPassword", "Password": f"{PASSWORD}Password"}
    content = answer_file.make(settings_of("windows-2022"))
    assert PASSWORD.encode() not in content
    assert PASSWORD not in repr(settings_of("windows-2022"))
    assert PASSWORD.encode() not in settings_of("windows-2022").for_scripts()


def test_passwords_are_random_and_of_three_classes() -> None:
    found = {random_password() for _ in range(200)}
    assert len(found) == 200
    assert all(len(one) == 24 and one.isalnum() and not one.islower() and not one.isupper() for one in found)
    assert all(any(char.isdigit() for char in one) for one in found)
    assert obscured("x", "Password") != obscured("x", "AdministratorPassword")


def test_text_from_the_medium_is_quoted() -> None:
    strange = settings_of("windows-2022")
    strange = replace(strange, image=replace(strange.image, language='<&">'))
    assert texts(ET.fromstring(answer_file.make(strange)), "UILanguage").count('<&">') == 3


GOOD = answer_file.make(settings_of("windows-2022")).decode()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("</unattend>", "", "not well-formed"),
        ("\r\n", "\n", "CRLF"),
        ("<Order>2</Order>", "<Order>3</Order>", "the order in"),
        ("<PartitionID>3</PartitionID>", "<PartitionID>4</PartitionID>", "does not make"),
        ("<ComputerName>WSKLAB", "<ComputerName>WSKLAB-AND-MUCH-MORE", "15 characters"),
        ("<ComputerName>WSKLAB-TARGET", "<ComputerName>WSKLAB", "the user wsklab has the name of the computer"),
        ('pass="specialize"', 'pass="generalize"', "the passes are"),
        ("Microsoft-Windows-LUA-Settings", "Microsoft-Windows-Nonesuch", "does not belong"),
        ("<Username>wsklab", "<Username>somebody", "is not made"),
        ('versionScope="nonSxS"', "", "identity"),
        ("net.exe accounts", "x" * 260, "259 are allowed"),
        (' wcm:action="add"', "", "no wcm:action"),
        ("<AcceptEula>true</AcceptEula>", "<AcceptEula></AcceptEula>", "AcceptEula is empty"),
        ("WSKLAB-TARGET</ComputerName>", "WSKLÄB</ComputerName>", "not ASCII"),
        ("unattend xmlns=", "unattended xmlns=", "well-formed"),
        ('<component name="Microsoft-Windows-Security-SPP-UX"', '<component name="Microsoft-Windows-Deployment"',
         "is there 2 times"),
    ],
)  # fmt: skip
def test_a_fault_in_an_answer_file_is_found(old: str, new: str, says: str) -> None:
    assert old in GOOD
    assert any(says in problem for problem in lint.check(GOOD.replace(old, new).encode()))
