"""A captured connection as a scenario: valid, readable, and with the steps that make its ending again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.captured import Talk, captured_as
from support.conversations import asked, closed, crossing, sent_after_close

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.scenarios import again, fidelity
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN


def aborted() -> Talk:
    said = asked()
    said.p(RST | ACK, after=1)
    return said


def unread() -> Talk:
    said = Talk().handshake()
    said.d(ACK | PSH, 10)
    said.p(ACK)
    said.p(RST | ACK)
    return said


def forged_reset() -> Talk:
    said = asked()
    said.p(RST | ACK, stamp=False, ttl=250, ident=0, seq=1021)
    said.d(ACK | PSH, 7, after=0.1)
    said.p(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK)
    return said


def fin_lost_once() -> Talk:
    said = asked()
    said.p(FIN | ACK, after=1)
    said.p(FIN | ACK, after=0.3, seq=21)
    said.d(ACK)
    return said


def accepted() -> Talk:
    said = Talk()
    said.p(SYN)
    said.d(SYN | ACK, ttl=128)
    said.p(ACK)
    said.p(FIN | ACK, after=1)
    said.d(ACK, ttl=128)
    return said


def vanished() -> Talk:
    said = asked()
    said.d(ACK | PSH, 50, after=1)
    for pause in (0.3, 0.6, 1.2):
        said.d(ACK | PSH, 50, after=pause, seq=11)
    return said


def scenario(one: Connection, ending: str | None = None) -> Scenario:
    return yaml_source.parse(again.scenario(one, "again", ending), Scenario, "again.yaml")


def steps(said: Talk, ending: str | None = None) -> list[str]:
    return [str(action) for action in scenario(captured_as(said), ending).steps]


def test_a_conversation_in_its_order_with_the_frames_it_came_from() -> None:
    text = again.scenario(captured_as(aborted()), "again", source="customer.pcapng")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line.split("  #")[0].strip() for line in lines] == [
        "name: again",
        'title: "The peer closed with SO_LINGER 0"',
        "tags: [field]",
        "covers: [C05]",
        "steps:",
        "- driver: {connect: peer}",
        "- driver: {enable: [disconnect]}",
        "- driver: {receive: 2}",
        "- driver: {send: 10}",
        "- peer: {receive: 10}",
        "- peer: {send: 20}",
        "- lab: settle",
        "- lab: {wait: 1.0}",
        "- peer: {close: {linger: 0}}",
        "- driver: {await: disconnect}",
        "expect:",
        "wire: {peer: rst, driver: none}",
        "disconnect: [{abortive: set}]",
        "capture:",
        "- 0.000000 driver SYN 0",
        "- 0.010000 peer SYN+ACK 0",
        "- 0.020000 driver ACK 0",
        "- 0.030000 driver PSH+ACK 10",
        "- 0.040000 peer PSH+ACK 20",
        "- 0.050000 driver ACK 0",
        "- 1.050000 peer RST+ACK 0",
    ]
    assert "# frame 4: 10 bytes" in text
    assert "# frame 7: RST+ACK" in text
    assert "customer.pcapng" in text


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (closed, "peer: close"),
        (sent_after_close, "driver: send length=4"),
        (unread, "peer: await what=readable"),
        (forged_reset, "wire: forge segment=rst-ack sender=peer offset=1000"),
        (fin_lost_once, "wire: drop sender=peer segment=fin"),
        (accepted, "driver: accept"),
        (crossing, "wire: hold sender=peer segment=fin"),
        (vanished, "wire: blackhole sender=both"),
    ],
)
def test_what_makes_the_ending_is_among_the_steps(said: Callable[[], Talk], wanted: str) -> None:
    found = [step.replace("from=", "sender=") for step in steps(said())]
    assert any(step.startswith(wanted) for step in found), found


@pytest.mark.parametrize(
    ("ending", "wanted"), [("C05", "peer: close linger=0"), ("C14", "peer: kill"), ("C19", "peer: destroy")]
)
def test_of_endings_that_look_alike_one_may_be_chosen(ending: str, wanted: str) -> None:
    assert wanted in steps(aborted(), ending)


def test_an_ending_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="does not look like C21; what fits is"):
        scenario(captured_as(closed()), "C21")


def test_real_time_keeps_every_pause() -> None:
    said = Talk().handshake()
    said.d(ACK | PSH, 10, after=3.5)
    said.p(ACK)
    said.p(FIN | ACK, after=5)
    text = again.scenario(captured_as(said), "again", real_time=True)
    assert "wait: 3.5" in text
    assert "wait: 5.01" in text
    assert "wait: 3.5" not in again.scenario(captured_as(said), "again")


def test_long_conversations_are_put_together() -> None:
    said = Talk().handshake()
    for _ in range(500):
        said.d(ACK | PSH, 10)
        said.p(ACK | PSH, 20)
    said.p(FIN | ACK)
    assert len(scenario(captured_as(said)).steps) < 200
    assert "5,000 bytes" not in again.scenario(captured_as(said), "again")


def test_no_payload_of_the_customer_is_kept() -> None:
    said = asked()
    said.p(RST | ACK)
    one = captured_as(said)
    assert b"xxxx" not in bytes(one.flow.records)
    assert "xxxx" not in again.scenario(one, "again")


# -- fidelity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [closed, sent_after_close, aborted, unread, fin_lost_once, crossing, vanished])
def test_the_same_again_is_one(said: Callable[[], Talk]) -> None:
    result = fidelity.compare(captured_as(said()), captured_as(said()))
    assert result.number == 1.0
    assert result.same
    assert result.first_difference is None


def test_another_pace_and_another_cut_into_segments_are_the_same() -> None:
    slow = Talk(port=40009, isn=(9, 8)).handshake()
    slow.d(ACK | PSH, 4, after=0.1)
    slow.d(ACK | PSH, 6)
    slow.p(ACK)
    slow.p(ACK | PSH, 20, after=0.1)
    slow.d(ACK)
    slow.p(FIN | ACK, after=3)
    slow.d(ACK)
    assert fidelity.compare(captured_as(closed()), captured_as(slow)).number == 1.0


def test_another_ending_is_no_reproduction() -> None:
    result = fidelity.compare(captured_as(closed()), captured_as(aborted()))
    assert not result.same
    assert result.number < 0.6
    assert result.first_difference == "the capture has peer FIN, the run peer RST"


def test_other_bytes_lower_the_number_and_are_shown() -> None:
    other = Talk().handshake()
    other.d(ACK | PSH, 10)
    other.p(ACK | PSH, 10)
    other.d(ACK)
    other.p(FIN | ACK)
    other.d(ACK)
    result = fidelity.compare(captured_as(closed()), captured_as(other))
    assert result.same
    assert 0.9 < result.number < 1.0
    assert result.first_difference == "the capture has peer sends 20 bytes, the run peer sends 10 bytes"


def test_the_rst_that_tidies_up_after_a_run_does_not_count() -> None:
    tidied = closed()
    tidied.d(RST | ACK)
    assert fidelity.compare(captured_as(closed()), captured_as(tidied)).number == 1.0


def test_the_nearest_connection_of_a_recording_is_taken() -> None:
    run, result = fidelity.best(captured_as(closed()), [captured_as(aborted()), captured_as(closed())]) or pytest.fail()
    assert result.number == 1.0
    assert [end.word for end in run.story.ends] == ["fin"]
