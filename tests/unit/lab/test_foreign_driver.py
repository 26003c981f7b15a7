"""Somebody else's driver: which scenarios fit it, whose its lines are, and what the judge makes of them."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.damage import flip
from support.recorded import Recording

from wsklab.drivers.profile import PROFILES, DriverProfile, load_profile
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, StepError, UsageError
from wsklab.orchestrator.judge.integrity import silence
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.judge.observed import observed
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.lab import foreign_driver, installed_foreign
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.observe.foreign_lines import ForeignClose, ForeignDisconnect, ForeignLoad, ForeignOpen
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import ForeignStarted
from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.play.foreign_steps import ForeignSteps
from wsklab.orchestrator.run import evidence
from wsklab.orchestrator.scenario import any_driver, catalogue
from wsklab.orchestrator.scenario.scenario import ANY_DRIVER, Scenario
from wsklab.orchestrator.scenario.steps import DriverStep
from wsklab.orchestrator.scenario.yaml_source import parse
from wsklab.orchestrator.trials.scarcity import short_of

ECHO, PINGER = load_profile("echo"), load_profile("pinger")
NAMES = [s.name for s in catalogue.any_driver()]


def scenario(steps: str = "[driver: connect, driver: {await: disconnect}]", **more: str) -> Scenario:
    text = "\n".join([f"steps: {steps}", *(f"{key}: {value}" for key, value in more.items())])
    return parse(f"name: mine\ntitle: Mine\n{text}\n", Scenario, "mine.yaml")


def changed(profile: DriverProfile, **changes: Any) -> DriverProfile:
    return DriverProfile.model_validate({**profile.model_dump(), **changes})


# --- which scenarios ----------------------------------------------------------------------------------------------


SEVERAL = "any-three-endings"
ONE_BY_ONE = [name for name in NAMES if name != SEVERAL]


def test_every_scenario_for_any_driver_fits_the_samples() -> None:
    assert any_driver.playable(catalogue.any_driver(), ECHO, ()) == (list(catalogue.any_driver()), [])
    kept, left_out = any_driver.playable(catalogue.any_driver(), PINGER, ())
    assert [s.name for s in kept] == ONE_BY_ONE
    (sentence,) = left_out
    assert sentence.startswith(
        f"{SEVERAL} is left out: it has 3 connections, and the profile says that its driver has 1"
    )


def test_their_suite_is_named_after_its_files_and_stands_beside_our_own() -> None:
    assert [path.stem for path in sorted(catalogue.FOR_ANY_DRIVER.glob("*.yaml"))] == NAMES
    assert all(s.for_any_driver and s.expect.wire.driver is None for s in catalogue.any_driver())
    assert not set(NAMES) & {s.name for s in catalogue.built_in()}
    assert not any(s.for_any_driver for s in catalogue.built_in())


def test_words_mean_the_suite_of_the_driver() -> None:
    assert [s.name for s in catalogue.select([], suite=catalogue.any_driver)] == NAMES
    assert [s.name for s in catalogue.select([ANY_DRIVER])] == NAMES, "our own driver can play them, too"
    lossy = catalogue.select(["lossy"], suite=catalogue.any_driver)
    assert {s.name for s in lossy} == {s.name for s in catalogue.any_driver() if "lossy" in s.tags}
    assert [s.name for s in catalogue.select(["linger-zero"], suite=catalogue.any_driver)] == ["linger-zero"]


@pytest.mark.parametrize("mine", catalogue.built_in(), ids=lambda s: s.name)
def test_a_scenario_that_steers_is_refused_by_name(mine: Scenario) -> None:
    with pytest.raises(UsageError, match=f"^the driver echo cannot play {mine.name}: "):
        any_driver.playable([mine], ECHO, [mine.name])


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        (scenario("[driver: connect, driver: {send: 4}]"), "step 2 (driver: send length=4) takes the lab's own driver"),
        (scenario("[driver: {connect: closed-port}]"), "step 1 (driver: connect to=closed-port) takes the lab's own"),
        (scenario("[driver: {connect: peer, expect: failure}]"), "step 1 (driver: connect to=peer) takes"),
        (scenario("[driver: {await: receive}]"), "step 1 (driver: await what=receive) takes"),
        (scenario("[peer: connect]"), "step 1 (peer: connect) is done by `driver: connect`"),
        (scenario(expect="{receive: [{status: success}]}"), "it expects something under `receive`"),
        (scenario(expect="{order: [disconnect, close]}"), "it expects something under `order`"),
        (scenario(expect="{characterise: true}"), "it expects something under `characterise`"),
        (scenario(socket="{family: ipv6}"), "its `socket` is for the lab's own driver"),
        (scenario(connections="9"), "it has 9 connections"),
    ],
)
def test_what_does_not_fit_is_said_with_its_step(mine: Scenario, says: str) -> None:
    reasons = list(any_driver.misfits(mine, ECHO))
    assert any(says in reason for reason in reasons), reasons


def test_a_driver_that_says_nothing_is_spared_what_needs_its_words() -> None:
    mute = changed(PINGER, provoke={"by": "start", "port": 7008})
    kept, left_out = any_driver.playable(catalogue.any_driver(), mute, ())
    assert [s.name for s in kept] == [name for name in ONE_BY_ONE if name != "any-unread"]
    assert [text.split(":")[0] for text in left_out] == [f"{SEVERAL} is left out", "any-unread is left out"]
    only_disc = changed(ECHO, patterns=[p for p in ECHO.patterns if p.kind == "disc"])
    assert [s.name for s in any_driver.playable(catalogue.any_driver(), only_disc, ())[0]] == [
        name for name in NAMES if name != "any-still-open"
    ]


# --- which drivers ------------------------------------------------------------------------------------------------

MINE = (PROFILES / "pinger.yaml").read_text(encoding="utf-8").replace("build: pinger", "path: mine.sys")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", "the driver {}/mine.sys of the profile pinger does not exist; build it"),
        ("path: mine.sys", "path: mine.yaml", "{}/mine.yaml is no driver that could be loaded: This is no driver"),
        ("path: mine.sys", "path: mine.yaml\nfiles: {'C:\\x': y}", "names the file {}/y, which does not exist"),
        ("provoke: ", "# ", "does not say how its driver comes to connect; give `provoke`"),
        ("kind: disc", "kind: note", "has no pattern of kind `disc`"),
        ("connected'", "(connected'", "mine.yaml:10: patterns[1]: pattern 1 (open) is no regular expression"),
    ],
)
def test_a_driver_that_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(MINE.replace(old, new))
    with pytest.raises(UsageError) as refused:
        profile = foreign_driver.profile_of(str(tmp_path / "mine.yaml"))
        foreign_driver.usable(profile)
        foreign_driver.find("mine", profile, True, tmp_path, print)
    assert says.format(tmp_path) in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-shared"], "this is a user-mode DLL (a Windows console program), no driver"),
        (["-shared", "-Wl,--subsystem,native"], "It imports from KERNEL32.dll, which exists in user mode only"),
    ],
)
@pytest.mark.skipif(shutil.which("x86_64-w64-mingw32-gcc") is None, reason="needs mingw-w64")
def test_a_dll_of_user_mode_is_refused_before_anything_is_booted(tmp_path: Path, options: list[str], says: str) -> None:
    (tmp_path / "dll.c").write_text("int answer(void) { return 42; }\n")
    subprocess.run(["x86_64-w64-mingw32-gcc", *options, "-o", "mine.sys", "dll.c"], cwd=tmp_path, check=True)
    (tmp_path / "mine.yaml").write_text(MINE)
    with pytest.raises(UsageError) as refused:
        foreign_driver.find("mine", foreign_driver.profile_of(str(tmp_path / "mine.yaml")), True, tmp_path, print)
    assert f"{tmp_path}/mine.sys cannot be loaded as a driver: " in str(refused.value)
    assert says in str(refused.value)
    checked = CliRunner().invoke(main, ["driver", "check", str(tmp_path / "mine.sys")])
    assert checked.exit_code == 1 and says in checked.output


def test_a_driver_needs_no_profile_where_the_provider_tells_of_it(tmp_path: Path) -> None:
    profile = foreign_driver.profile_of(str(tmp_path / "my-driver.sys"), "start:7007")
    assert (profile.service, profile.target_path) == ("my_driver", r"C:\wsklab\my-driver.sys")
    assert profile.provoke is not None and (profile.provoke.by, profile.provoke.port) == ("start", 7007)
    foreign_driver.usable(profile, witnessed=True)
    with pytest.raises(UsageError, match="or let the stand-in watch it with --strict"):
        foreign_driver.usable(profile)
    kept, _ = any_driver.playable(catalogue.any_driver(), profile, (), True)
    assert "any-still-open" in [s.name for s in kept], "silence is told of, too"


@pytest.mark.parametrize(
    "provoke", [None, "", "start", "start:", "start:0", "start:70000", "command:7007", "peer:x", "peer:1:9"]
)
def test_how_a_driver_without_a_profile_connects_has_to_be_said(provoke: str | None) -> None:
    with pytest.raises(UsageError, match=r"--provoke peer:PORT if it listens there, --provoke start:PORT"):
        foreign_driver.profile_of("my.sys", provoke)


def test_how_many_connections_it_has_is_said_behind_the_port() -> None:
    provoked = foreign_driver.profile_of("my.sys", "peer:7007:3").provoke
    assert provoked is not None and (provoked.by, provoked.port, provoked.connections) == ("peer", 7007, 3)


def test_a_profile_says_itself_how_its_driver_connects() -> None:
    with pytest.raises(UsageError, match=r"--provoke goes with --driver FILE\.sys"):
        foreign_driver.profile_of("echo", "peer:7007")


def test_a_file_whose_name_windows_has_no_use_for_is_refused() -> None:
    with pytest.raises(UsageError, match="is no name for a driver's file"):
        foreign_driver.profile_of("what?.sys", "peer:7007")


def test_what_the_provider_saw_stands_for_a_drivers_words() -> None:
    mute = foreign_driver.profile_of("my.sys", "start:7007")
    common = "irql=0 thr=00000007 sock=00000004 irp=0000000000000000 ctx=0000000000000000"
    rest = "st=00000000 info=0000000000000000"
    assert heard(
        mute,
        f"WSKSEEN n=00000001 ev=done fn=WskSocketConnect drv=my.sys {common} flags=00000000 {rest}",
        f"WSKSEEN n=00000002 ev=event fn=WskDisconnectEvent drv=other.sys {common} flags=00000001 {rest}",
        f"WSKSEEN n=00000003 ev=event fn=WskDisconnectEvent drv=MY.SYS {common} flags=00000001 {rest}",
        "WSKSEEN nonsense",
    ) == [("open", 0), ("disc", 0)]


def test_only_our_own_driver_has_twins() -> None:
    with pytest.raises(UsageError, match="twins of wsklab only, not of echo"):
        foreign_driver.usable(ECHO, "silent")


def test_the_profile_in_the_manual_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "drivers.md").read_text(encoding="utf-8")
    (tmp_path / "echo.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    shown = foreign_driver.profile_of(str(tmp_path / "echo.yaml"))
    assert (shown.path, shown.provoke) == (tmp_path / "build" / "echo.sys", ECHO.provoke)
    assert {p.line for p in shown.patterns} < {p.line for p in ECHO.patterns}


# --- whose line it is ---------------------------------------------------------------------------------------------


class Line:
    """A debug line that is said by the test."""

    def on_line(self, subscriber: Callable[[int, str], None], reads: Callable[[str], bool]) -> None:
        self.say = subscriber


class FakeTarget:
    """What a foreign needs of a target before it is put in."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.debug = Line()
        self.machine = self
        self.know_pdb = lambda _image, _file: None


def heard(profile: DriverProfile, *lines: str) -> list[tuple[str, int | None]]:
    target = FakeTarget()
    InstalledForeign(Foreign(profile, Path("x.sys"), "", profile.name), target, 1.0)  # type: ignore[arg-type]
    for line in lines:
        target.debug.say(0, line)
    return [(o.kind, o.conn) for o in target.journal.since(0)]


def test_a_driver_that_changed_since_it_was_looked_at_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "x.sys"
    file.write_bytes(b"MZ and more")
    given = Foreign(None, file, hashlib.sha256(b"MZ and more").hexdigest(), "x")  # type: ignore[arg-type]
    assert given.content() == b"MZ and more"
    flip(file)
    with pytest.raises(LabError, match=r"x\.sys is not what it was when this run began"):
        given.content()


def test_connections_are_numbered_as_they_appear() -> None:
    assert heard(
        ECHO,
        "echo: listening on port 7007",
        "echo[12] hello 10.77.0.20:40001",
        "noise",
        "echo[40] hello 10.77.0.20:40002",
        "echo[12] bye: flags=0 after 0 bytes",
        "echo[40] bye: flags=1 after 0 bytes",
    ) == [("load", None), ("open", 0), ("unread", None), ("open", 1), ("disc", 0), ("disc", 1)]


def test_unread_lines_are_kept_within_bounds_and_cost_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_foreign, "MOST_UNREAD", 100)
    seen = heard(ECHO, *["a line of 20 letters"] * 1000, "echo[1] bye: flags=0 after 0 bytes")
    assert seen == [*[("unread", None)] * 5, ("disc", 0)]


def test_without_numbers_a_line_is_about_the_newest_connection() -> None:
    nameless = changed(
        ECHO,
        patterns=[
            {"kind": "open", "line": "hello", "samples": {"hello": {}}},
            {"kind": "disc", "line": "bye", "set": {"abortive": True}, "samples": {"bye": {"abortive": True}}},
        ],
    )
    assert heard(nameless, "bye", "hello", "bye", "bye", "hello", "bye") == [
        ("disc", 0),
        ("open", 0),
        ("disc", 0),
        ("disc", 0),
        ("open", 1),
        ("disc", 1),
    ]


def test_a_line_begins_where_the_driver_began_it() -> None:
    anchored = changed(
        ECHO,
        patterns=[{"kind": "disc", "line": "^bye$", "set": {"abortive": True}, "samples": {"bye": {"abortive": True}}}],
    )
    assert heard(anchored, "00f0:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000001: bye") == [("disc", 0)]
    assert heard(anchored, "bye", "good bye", "00f0:bye") == [("disc", 0), ("unread", None), ("unread", None)]


def test_lines_that_no_pattern_knows_are_kept_in_the_evidence_and_prove_nothing(tmp_path: Path) -> None:
    any_fin = catalogue.any_driver()[0]
    target = FakeTarget()
    InstalledForeign(Foreign(ECHO, Path("x.sys"), "", "echo"), target, 1.0)  # type: ignore[arg-type]
    for line in (
        "00f0:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000001: my driver \x9b2J speaks",
        "WSKLAB1 seq=00000001 t=0000000000000001 conn=0 ev=load",
        "WSKPROV rule=R10 text",
    ):
        target.debug.say(0, line)
    observations = target.journal.since(0)
    evidence.save(tmp_path, any_fin, observations, Judgement("pass", (), observed()), {})
    assert (tmp_path / "debug.txt").read_text() == "my driver \\x9b2J speaks\n"
    foreign = ForeignStarted(t=0, name="echo")
    assert any(
        sentence.startswith("nothing of the debug text of echo was read")
        for _, sentence in silence(Facts(any_fin, [*observations, foreign]))
    )


@given(st.lists(st.integers(0, 9)))
def test_the_same_number_is_always_the_same_connection(numbers: list[int]) -> None:
    seen = heard(ECHO, *(f"echo[{number}] bye: flags=0 after 0 bytes" for number in numbers))
    order = list(dict.fromkeys(numbers))
    assert seen == [("disc", order.index(number)) for number in numbers]


# --- what the judge makes of it -----------------------------------------------------------------------------------

RESET = scenario(expect="{wire: {peer: rst}, disconnect: [{abortive: set, at_dispatch: clear}]}")
GONE = scenario(expect="{wire: {peer: rst}, disconnect: [{abortive: set}]}")


def reset(*told: dict[str, object], wire: str = "RA") -> Recording:
    """Return a reset connection of a driver whose event told this."""
    recording = Recording().opened().add("lab", "foreign", name="echo")
    recording.add("driver", "open", 0, text="hello").step("driver", "connect").frame("peer", wire)
    for data in told:
        recording.add("driver", "disc", 0, text="bye", **data)
    return recording.step("driver", "await_")


@pytest.mark.parametrize(
    ("mine", "told", "verdict", "reason"),
    [
        (RESET, {"flags": 1, "abortive": True}, "pass", ""),
        (GONE, {"abortive": True}, "pass", ""),
        (GONE, {"flags": 1}, "pass", ""),
        (GONE, {"abortive": False}, "fail", "WSK_FLAG_ABORTIVE is clear, expected set (the driver's word 'graceful')"),
        (GONE, {"flags": 0, "abortive": False}, "fail", "WSK_FLAG_ABORTIVE is clear, expected set (flags 00000000)"),
        (GONE, {"flags": 1, "abortive": False}, "fail", "the driver takes flags 00000001 for not abortive"),
        (GONE, {"flags": 5, "abortive": True}, "fail", "0x4 is undefined (R9)"),
        (GONE, {"flags": 9, "abortive": True, "irql": 0}, "fail", "is set, but the IRQL is 0 (R7)"),
        (GONE, {"flags": 9, "abortive": True}, "pass", ""),
        (GONE, {"abortive": True, "irql": 3}, "fail", "above DISPATCH_LEVEL (R8)"),
        (GONE, {}, "inconclusive", "the driver's text does not tell WSK_FLAG_ABORTIVE, expected set"),
        (RESET, {"abortive": True}, "inconclusive", "the driver's text does not tell WSK_FLAG_AT_DISPATCH_LEVEL"),
    ],
)
def test_what_is_told_is_judged_and_the_rest_is_not_invented(
    mine: Scenario, told: dict[str, object], verdict: str, reason: str
) -> None:
    judgement = judge(mine, reset(told).ended())
    assert judgement.verdict == verdict, judgement.reasons
    assert reason in "; ".join(judgement.reasons)
    (seen,) = judgement.observed["disconnects"]
    assert (seen["flags"], seen["irql"], seen["context_ok"]) == (told.get("flags"), told.get("irql"), None)


def test_events_are_counted_and_the_wire_comes_first() -> None:
    event: dict[str, object] = {"abortive": True}
    assert "called not at all, expected once" in judge(GONE, reset().ended()).reasons[0]
    twice = judge(GONE, reset(event, event).ended())
    assert twice.reasons == ("unexpected WskDisconnectEvent (call 2) with the driver's word 'abortive'",)
    polite = judge(GONE, reset(event, wire="FA").ended())
    assert (polite.verdict, polite.reasons[0]) == ("infra", "the peer should have sent RST, the wire shows FIN")


def test_an_awaited_event_is_given_up_when_the_driver_says_that_it_has_closed() -> None:
    journal = Journal()
    lab = SimpleNamespace(journal=journal, slowness=1.0, foreign=None, target=SimpleNamespace(connection=lambda n: n))
    context = PlayContext(cast(Any, lab), GONE, cast(Any, None), random.Random(1))
    actor = ForeignSteps(context, cast(Any, SimpleNamespace(foreign=SimpleNamespace(profile=ECHO))))
    step = DriverStep.model_validate({"await": "disconnect", "within": 0})
    assert step.await_ is not None
    with pytest.raises(StepError, match="disconnect was not reported"):
        actor.await_(step, step.await_)
    journal.add(ForeignClose(t=1, conn=0, more={"status": 0}))
    actor.await_(step, step.await_)


class Several:
    """A lab, its peer, and a driver that opens three connections in another order than the peer takes them."""

    PEERS = (50002, 50003, 50001)
    slowness = 1.0

    def __init__(self, provoke: dict[str, Any], tells_ports: bool = True) -> None:
        self.journal = Journal()
        self.target = SimpleNamespace(connection=lambda number: number)
        self.taken, self.started = iter(self.PEERS), 0
        self.profile = changed(ECHO, provoke=provoke)
        assert self.profile.provoke is not None
        self.provoke, self.tells_ports = self.profile.provoke, tells_ports
        self.foreign = cast(Any, SimpleNamespace(foreign=self, start=self.start))

    def tells(self, kind: str) -> bool:
        return True

    def start(self) -> None:
        self.started += 1
        self.journal.add(ForeignLoad(t=1))
        for conn, local in enumerate(sorted(self.PEERS)):
            more = {"local_port": local, "remote_port": 7007} if self.tells_ports else {}
            self.journal.add(ForeignOpen(t=1, conn=conn, more=more))

    def ask(self, do: str, *_: object, **words: object) -> object:
        return SimpleNamespace(port=7007 if do == "listen" else next(self.taken), do=do)


def connected(lab: Several, conn: object) -> list[tuple[int | None, int | None, str]]:
    """Return the ports and the peer's end of each connection once a step has made them."""
    three = scenario("[driver: {connect: peer, conn: all}]", connections="3")
    context = PlayContext(cast(Any, lab), three, cast(Any, lab), random.Random(1))
    actor = ForeignSteps(context, lab.foreign)
    for one in conn if isinstance(conn, list) else [conn]:
        step = DriverStep.model_validate({"connect": "peer", "conn": one, "within": 0})
        assert step.connect is not None
        actor.connect(step, step.connect)
    return [(c.target_port, c.peer_port, c.sock) for c in context.connections.values()]


def test_a_connection_is_the_one_that_the_driver_counts_whatever_the_peer_took_first() -> None:
    start = {"by": "start", "port": 7007, "connections": 3}
    assert connected(Several(start), "all") == [(50001, 7007, "2"), (50002, 7007, "0"), (50003, 7007, "1")]
    assert connected(Several(start, tells_ports=False), "all") == [
        (50002, 7007, "0"),
        (50003, 7007, "1"),
        (50001, 7007, "2"),
    ]


def test_a_driver_is_started_once_for_all_its_connections() -> None:
    lab = Several({"by": "peer", "port": 7007, "connections": 3})
    assert connected(lab, [0, 1, 2]) == [(7007, 50002, "0"), (7007, 50003, "1"), (7007, 50001, "2")]
    assert lab.started == 1


def test_an_event_between_the_end_of_the_story_and_the_unload_is_judged() -> None:
    observations = reset({"abortive": True}).ended()
    end = next(i for i, o in enumerate(observations) if o.kind == "end")
    late = ForeignDisconnect(t=observations[end].t + 200_000_000, conn=0, abortive=True)
    assert judge(GONE, [*observations[: end + 1], late, *observations[end + 1 :]]).reasons == (
        "unexpected WskDisconnectEvent (call 2) with the driver's word 'abortive', 200 ms after the end of the story",
    )


def test_a_second_connection_of_the_driver_is_its_own_business() -> None:
    recording = reset({"abortive": True}).add("driver", "open", 1).add("driver", "disc", 1, abortive=False)
    assert judge(GONE, recording.ended()).verdict == "pass"


def test_a_driver_that_is_not_heard_proves_nothing() -> None:
    recording = Recording().opened().add("lab", "foreign", name="echo")
    judgement = judge(GONE, recording.step("driver", "connect").frame("peer", "RA").step("driver", "await_").ended())
    assert judgement.verdict == "inconclusive"
    assert judgement.reasons[0].startswith("nothing of the debug text of echo was read: ")
    assert judge(GONE, reset({"abortive": True}).ended(canary=False)).verdict == "inconclusive"


def test_a_driver_that_was_short_of_memory_may_say_nothing() -> None:
    short = short_of(GONE, 3)
    recording = Recording().opened().add("lab", "foreign", name="echo")
    recording.add("driver", "scarce", None, number=3, routine="IoAllocateIrp", at="echo.sys+0x10")
    assert not any("nothing of the debug text" in text for _, text in silence(Facts(short, recording.ended())))
    silent = Recording().opened().add("lab", "foreign", name="echo").ended()
    assert any("nothing of the debug text" in text for _, text in silence(Facts(short, silent)))
