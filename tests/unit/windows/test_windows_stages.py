"""How far set-up is: the stage machine, fed with what a machine would say."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.images.windows.install.stages import (
    COPYING,
    IDLE_PATIENCE,
    LONG_STEPS,
    PATIENCE,
    RESTARTS,
    STAGES,
    STEP_PATIENCE,
    Action,
    Ended,
    Entered,
    Note,
    Press,
    Restart,
    Setup,
)

NONCE = "0badf00d"
CD = 'BdsDxe: starting Boot0001 "UEFI QEMU DVD-ROM CD1 " from PciRoot(0x0)/Pci(0x1F,0x2)/Sata(0x1,0xFFFF,0x0)'
CD_TIMEOUT = CD.replace("starting", "failed to start") + ": Time out"
BOOT_MANAGER = 'BdsDxe: starting Boot0003 "Windows Boot Manager" from HD(1,GPT,2C7B,0x800,0x82000)/\\EFI\\bootmgfw.efi'
SHELL = "UEFI Interactive Shell v2.2"


def mark(text: str) -> str:
    return f"WSKLAB-SETUP {NONCE} {text}"


def fed(lines: list[str], setup: Setup | None = None) -> tuple[Setup, list[Action]]:
    setup = setup or Setup(NONCE, 0.0)
    return setup, [action for at, line in enumerate(lines) for action in setup.line(float(at), line)]


def test_a_whole_set_up() -> None:
    setup, actions = fed(["", "noise", CD, mark("stage=windowsPE")])
    assert actions == [Entered("key"), Press(), Entered("windowsPE")]
    assert setup.look(10.0, "a", COPYING) == [Entered("copying")]
    assert setup.event(11.0, "reset", "") == setup.event(11.0, "exception", "") == []
    _, actions = fed([BOOT_MANAGER, mark("stage=specialize"), mark("stage=firstlogon"), mark("stage=provision"),
                      mark("step=drivers"), mark("stage=restart"), BOOT_MANAGER, mark("stage=finish"),
                      mark("report=YWJj"), mark("report=ZGVm"), mark("stage=done")], setup)  # fmt: skip
    assert actions == [Entered("disk"), Entered("specialize"), Entered("firstlogon"), Entered("provision"),
                       Note("step drivers"), Entered("restart"), Entered("finish"), Entered("done")]  # fmt: skip
    assert setup.event(30.0, "shutdown", "") == [Ended()]
    assert (setup.report, setup.resets) == ("YWJjZGVm", 1)
    assert setup.line(31.0, mark("fail x")) == [] and setup.look(1e9, "b", 0) == []


def test_a_stage_that_nobody_announced_is_skipped() -> None:
    setup, actions = fed([CD])
    setup.look(5.0, "a", COPYING)
    _, actions = fed([mark("stage=firstlogon"), mark("stage=specialize")], setup)
    assert actions == [Entered("firstlogon")]


def test_markers_of_another_build_are_text() -> None:
    setup, actions = fed(["WSKLAB-SETUP 00000000 stage=done", "WSKLAB-SETUP stage=done", mark("stage=nonesuch")])
    assert actions == [] and setup.stage == "firmware"


def test_the_key_is_not_pressed_once_setup_has_begun() -> None:
    setup, _ = fed([CD, mark("stage=windowsPE")])
    assert fed([CD], setup)[1] == []


def test_a_key_that_came_too_late_is_tried_again_and_then_given_up() -> None:
    _, actions = fed(list(itertools.chain.from_iterable([CD, CD_TIMEOUT] for _ in range(RESTARTS + 1))))
    assert [type(action) for action in actions].count(Restart) == RESTARTS
    assert isinstance(actions[-1], Ended) and "tried 3 times" in str(actions[-1].failure)


def test_a_disc_that_does_not_start_ends_at_once() -> None:
    _, (ended,) = fed([SHELL])
    assert isinstance(ended, Ended) and "found nothing on the Windows disc" in str(ended.failure)


def test_a_disk_that_does_not_start_after_set_up_began_ends_at_once() -> None:
    setup, _ = fed([CD, mark("stage=windowsPE")])
    (ended,) = fed([SHELL], setup)[1]
    assert isinstance(ended, Ended) and "neither disk nor disc, while Windows Setup runs" in str(ended.failure)


def test_seabios_says_it_in_its_own_words() -> None:
    setup, actions = fed(["Booting from Hard Disk...", "Booting from DVD/CD..."])
    assert actions == [Entered("key"), Press()]
    setup.look(1.0, "a", COPYING)
    assert fed(["Booting from Hard Disk..."], setup)[1] == [Entered("disk")]


def test_a_failing_script_is_quoted_with_its_step() -> None:
    _, actions = fed([mark("stage=provision"), mark("step=ssh"), mark("fail step=ssh line=7 sc.exe ended with 5")])
    assert actions[-1] == Ended("the script in the guest failed: step=ssh line=7 sc.exe ended with 5")


def test_what_no_test_depends_on_may_fail() -> None:
    lines = ["stage=provision", "step=power", "soft hibernate powercfg.exe ended with 1"]
    setup, actions = fed([mark(line) for line in lines])
    assert actions[-1] == Note("goes on without: hibernate powercfg.exe ended with 1")
    assert fed([mark("step=certificate")], setup)[1] == [Note("step certificate")]


@pytest.mark.parametrize(
    ("kind", "says"),
    [("shutdown", "switched itself off while our script prepares Windows for tests, step ssh"),
     ("panic", "Windows crashed while"), ("died", "QEMU ended while")],
)  # fmt: skip
def test_a_machine_that_ends_before_it_is_done_has_failed(kind: str, says: str) -> None:
    setup, _ = fed([mark("stage=provision"), mark("step=ssh")])
    (ended,) = setup.event(9.0, kind, "detail")
    assert isinstance(ended, Ended) and says in str(ended.failure)


def test_silence_ends_it_but_any_sign_of_life_does_not() -> None:
    setup, _ = fed([CD, mark("stage=windowsPE")])
    setup.look(1.0, "a", COPYING)
    now = 1.0 + IDLE_PATIENCE - 1
    assert setup.look(now, "screen", COPYING) == []
    now += IDLE_PATIENCE - 1
    assert setup.look(now, "screen", COPYING + 1) == []
    (ended,) = setup.look(now + IDLE_PATIENCE + 1, "screen", COPYING + 1)
    assert isinstance(ended, Ended) and "nothing has moved" in str(ended.failure)


@pytest.mark.parametrize("slowness", [1.0, 12.0])
def test_patience_has_an_end_which_is_later_on_slow_machines(slowness: float) -> None:
    assert Setup(NONCE, 0.0, slowness).look(PATIENCE["firmware"] * slowness - 1, "a", 0) == []
    (ended,) = Setup(NONCE, 0.0, slowness).look(PATIENCE["firmware"] * slowness + 1, "a", 0)
    assert isinstance(ended, Ended) and "neither the Windows disc nor the disk" in str(ended.failure)


def noticed(setup: Setup, now: float) -> tuple[float, str]:
    """After how long a desktop is given up on which a clock ticks and a log is written, and what is said of it."""
    for minute in range(24 * 60):
        moment = now + 10.0 * minute
        for action in setup.look(moment, f"the clock shows {minute}", COPYING + 4096 * minute):
            if isinstance(action, Ended):
                return moment - now, str(action.failure)
    raise AssertionError("never")


def test_a_desktop_whose_clock_ticks_is_no_progress() -> None:
    """The first logon failed, say: the desktop stands there, and every look at it sees something new."""
    setup, _ = fed([mark("stage=specialize"), mark("stage=firstlogon")])
    after, why = noticed(setup, 1.0)
    assert after <= PATIENCE["firstlogon"] + 10 <= 310
    assert "the first logon" in why and "next: Windows is installed" in why
    after, why = noticed(Setup(NONCE, 0.0, stage="installed"), 0.0)
    assert after <= 310 and "next: our script prepares Windows" in why


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("firmware", "done")])
def test_every_stage_has_an_end_however_much_moves(stage: str) -> None:
    after, _ = noticed(Setup(NONCE, 0.0, stage=stage), 0.0)
    if stage in ("key", "windowsPE"):  # what is written shows that it copies
        assert after <= PATIENCE["copying"] + 10
    else:
        assert after <= PATIENCE[stage] + 10
    assert PATIENCE[stage] <= 45 * 60


def test_a_step_of_a_script_has_its_own_patience() -> None:
    for step, patience in (("quiet", STEP_PATIENCE), *LONG_STEPS.items()):
        setup, _ = fed([mark("stage=provision"), mark(f"step={step}")])
        after, why = noticed(setup, 1.0)
        assert patience < after <= patience + 10 and f"the step {step} has not ended" in why


def test_each_part_of_the_way_ends_with_a_machine_that_is_off() -> None:
    setup, _ = fed([mark("stage=firstlogon"), mark("stage=installed")], Setup(NONCE, 0.0, goal="installed"))
    assert setup.event(5.0, "shutdown", "") == [Ended()]
    setup, _ = fed([mark("stage=firstlogon"), mark("stage=installed")], Setup(NONCE, 0.0, goal="installed"))
    assert "has not switched itself off" in noticed(setup, 1.0)[1]
    (early,) = Setup(NONCE, 0.0, stage="installed").event(5.0, "shutdown", "")
    assert isinstance(early, Ended) and early.failure


def test_a_report_is_bounded_and_only_base64() -> None:
    setup, _ = fed([mark("report=" + "A" * 4000)] * 30 + [mark("report=<script>")])
    assert len(setup.report) == 16 * 4000


LINES = st.one_of(
    st.text(max_size=60),
    st.sampled_from([CD, CD_TIMEOUT, BOOT_MANAGER, SHELL, *(mark(f"stage={stage}") for stage in STAGES)]),
    st.text(max_size=40).map(mark),
)
INPUTS = st.lists(st.one_of(
    st.tuples(st.just("line"), LINES),
    st.tuples(st.just("event"), st.sampled_from(["reset", "shutdown", "panic", "died"])),
    st.tuples(st.just("look"), st.integers(0, 1 << 40)),
), max_size=40)  # fmt: skip


@given(INPUTS)
def test_whatever_comes_stages_only_advance_and_nothing_follows_the_end(inputs: list[tuple[str, object]]) -> None:
    setup, order, ended = Setup(NONCE, 0.0), list(STAGES), False
    reached = 0
    for now, (kind, value) in enumerate(inputs):
        if kind == "line":
            actions = setup.line(float(now), str(value))
        elif kind == "event":
            actions = setup.event(float(now), str(value), "")
        else:
            assert isinstance(value, int)
            actions = setup.look(float(now), str(value), value)
        assert not (ended and actions)
        ended = ended or any(isinstance(action, Ended) for action in actions)
        assert order.index(setup.stage) >= reached
        reached = order.index(setup.stage)
