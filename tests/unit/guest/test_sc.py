"""`sc.exe`: what is read from its output in any language, and what users are told about each error."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.orchestrator.guest import service_control

QUERY = """
SERVICE_NAME: 1058
        TYPE               : 1  KERNEL_DRIVER
        STATE              : {number}  {word}
                                (STOPPABLE, NOT_PAUSABLE, IGNORES_SHUTDOWN)
        WIN32_EXIT_CODE    : {exit}  (0x243)
        SERVICE_EXIT_CODE  : 0  (0x0)
        CHECKPOINT         : 0x0
        WAIT_HINT          : 0x0
"""


@pytest.mark.parametrize(
    ("output", "status", "code"),
    [
        ("[SC] StartService FAILED 577:\r\n\r\nWindows cannot verify the digital signature.\r\n\r\n", 577, 577),
        ("[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\r\n\r\nNo such service.\r\n", 36, 1060),
        ("[SC] OpenService FEHLER 1060:\r\n\r\nDer angegebene Dienst ist kein installierter Dienst.\r\n", 1060, 1060),
        ("[SC] StartService \u00e9chec(s) 1275 :\r\n\r\nLe pilote 64 ne peut \u00eatre charg\u00e9.\r\n", 251, 1275),
        ("'sc.exe' is not recognized as an internal or external command,\r\n", 9009, 9009),
        ("[SC] CreateService SUCCESS\r\n", 0, 0),
    ],
)
def test_the_code_is_read_from_the_text_before_the_status(output: str, status: int, code: int) -> None:
    assert service_control.read(output, status) == service_control.Answer(code)


@pytest.mark.parametrize(
    ("number", "word", "state"),
    [
        (1, "STOPPED", "stopped"),
        (2, "START_PENDING", "start_pending"),
        (3, "STOP_PENDING", "stop_pending"),
        (4, "WIRD AUSGEF\u00dcHRT", "running"),
        (7, "PAUSED", "paused"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_state_is_its_number(number: int, word: str, state: str, end: str) -> None:
    text = QUERY.format(number=number, word=word, exit=577).replace("\n", end)
    assert service_control.read(text, 0) == service_control.Answer(0, state, 577)


@given(st.text(max_size=300), st.integers(0, 2**32 - 1))
def test_any_output_is_read(output: str, status: int) -> None:
    answer = service_control.read(output, status)
    assert answer.state in ("", *service_control.STATES) and answer.code >= 0
    assert answer.code == status or "[SC]" in output


@given(st.integers(0, 65535), st.sampled_from(["create", "start", "stop", "delete", "query"]))
def test_every_code_is_one_sentence_that_says_what_to_do(code: int, action: service_control.Action) -> None:
    said = service_control.explain(code, action)
    assert said.startswith(f"Win32 error {code}") and "\n" not in said
    assert ";" in said or "net helpmsg" in said


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (2, "FILE_NOT_FOUND"),
        (3, "PATH_NOT_FOUND"),
        (5, "SYSTEM"),
        (31, "DriverEntry"),
        (127, "driver check"),
        (193, "driver check"),
        (216, "x64"),
        (577, "driver sign"),
        (1053, "fresh machine"),
        (1056, "runs already"),
        (1058, "disabled"),
        (1060, "create it first"),
        (1061, "still going on"),
        (1062, "not running"),
        (1072, "MARKED_FOR_DELETE"),
        (1073, "left behind"),
        (1077, "start it"),
        (1275, "policy"),
    ],
)
def test_the_codes_that_users_meet(code: int, says: str) -> None:
    assert says in service_control.explain(code, "start")


def test_a_code_may_mean_something_else_for_another_action() -> None:
    assert "DriverUnload does not return" in service_control.explain(1460, "stop")
    assert "DriverEntry does not return" in service_control.explain(1460, "start")


def test_the_blank_after_each_equals_sign_is_there() -> None:
    command = service_control.command("create", "wsklab", r"C:\wsklab\wsklab.sys")
    assert command.startswith("sc.exe create wsklab ") and command.endswith(r" binPath= C:\wsklab\wsklab.sys")
    assert not re.search(r"=\S", command)
    assert service_control.command("stop", "wsklab") == "sc.exe stop wsklab"


@pytest.mark.parametrize("text", ["a" + " " * 1_000_000, "\n" * 1_000_000 + "a", "a: " * 300_000, "[SC] " * 200_000])
def test_an_odd_answer_of_a_target_is_read_in_its_length(text: str) -> None:
    """A pattern that goes back over it again and again would take hours here."""
    assert service_control.read(text, 0).code == 0
