"""`wsklab qualify` as a user types it, without machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from support.qualified import LAB, PLAN, PRIVATE, Runs, fails, public_pem

from wsklab.orchestrator.commands import qualify
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release import conduct, ingredients, page

REHEARSAL = PLAN.replace("windows-11", "standin")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder with a plan and a pair of keys, in which nothing needs a machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ingredients, "lab", lambda: LAB)
    monkeypatch.setattr(ingredients, "of_run", lambda _: {})
    monkeypatch.setattr(page, "CHROMIUM", ())
    (tmp_path / "plan.yaml").write_text(REHEARSAL)
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "key.pem").write_bytes(PRIVATE.private_bytes(pem, kind, serialization.NoEncryption()))
    secret = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "locked.pem").write_bytes(PRIVATE.private_bytes(pem, kind, secret))
    (tmp_path / "pub.pem").write_bytes(public_pem())
    return tmp_path


def typed(*words: str) -> Result:
    """Run a command to its end; what it raises is raised."""
    result = CliRunner().invoke(qualify.command, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def playing(monkeypatch: pytest.MonkeyPatch, runs: Runs) -> Runs:
    """Have these runs in place of real ones."""
    runs.qualifying = False
    monkeypatch.setattr(qualify, "_play", runs)
    return runs


VERIFY = ("verify", "rel/echo-1.4.2.qualification.dsse.json", "--key", "pub.pem", "--rehearsal")


def test_from_a_plan_to_a_statement_that_holds(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Runs())
    done = typed("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel")
    assert done.exit_code == 0
    assert "3 runs without a failure prove a flake rate below 63.2 %" in done.output
    assert "echo-1.4.2: REHEARSAL: GO, which qualifies nothing" in done.output
    assert "There is no qualification.pdf, as Chromium is not installed" in done.output
    held = typed(*VERIFY)
    assert (held.exit_code, "wsklab.sys  SHA-256 dddd" in held.output) == (0, True)
    (here / "rel" / "plan.yaml").write_text(PLAN)
    refused = typed(*VERIFY)
    assert (refused.exit_code, "NOT VERIFIED: plan.yaml is not what it was" in refused.output) == (3, True)
    assert "GO" not in refused.output


def test_a_no_go_has_an_exit_code_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Runs(fails("linger-zero", 1)))
    done = typed("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel")
    assert (done.exit_code, "linger-zero failed 1 of 3 times" in done.output) == (1, True)
    assert typed(*VERIFY).exit_code == 1


def test_it_ends_early_when_nothing_could_make_it_a_go_and_goes_on_when_asked(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "plan.yaml").write_text(REHEARSAL + "boots: 3\n")
    runs = playing(monkeypatch, Runs(fails("linger-zero", 1)))
    words = ("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel")
    done = typed(*words, "--stop-early")
    assert (done.exit_code, len(runs.calls)) == (1, 1)
    assert "It is a no-go already: wsklab on standin: linger-zero failed 1 of 1 times" in done.output
    first = next(line for line in done.output.splitlines()[6:] if line.startswith("  wsklab on standin: "))
    assert "linger-zero failed" in first, "before the many that were not run often enough"
    assert typed(*VERIFY).exit_code == 1, "it is a statement like any other"
    again = typed(*words, "--resume", "--stop-early")
    assert (again.exit_code, len(runs.calls)) == (1, 1), "nothing more is run"
    whole = typed(*words, "--resume")
    assert (whole.exit_code, len(runs.calls)) == (1, 3)
    assert "--stop-early would end here" in whole.output
    assert "linger-zero failed 3 of 3 times" in whole.output


def test_a_key_is_needed_only_in_the_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Runs())
    done = typed("plan.yaml", "--rehearsal", "--out", "rel", "--json")
    assert json.loads(done.stdout)["result"] == "rehearsal-go"
    assert not list((here / "rel").glob("*.dsse.json"))
    with pytest.raises(UsageError, match="WSKLAB_KEY_PASSWORD"):
        typed("sign", "rel", "--key", "locked.pem")
    monkeypatch.setenv("WSKLAB_KEY_PASSWORD", "secret")
    assert typed("sign", "rel", "--key", "locked.pem").exit_code == 0
    assert typed(*VERIFY).exit_code == 0


def test_what_was_stopped_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = playing(monkeypatch, Runs(interrupt_at=3))
    words = ("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel")
    stopped = CliRunner().invoke(qualify.command, words)
    assert "the same command with --resume goes on" in stopped.output
    with pytest.raises(UsageError, match="go on there with --resume"):
        typed(*words)
    assert typed(*words, "--resume").exit_code == 0
    assert (len(runs.calls), typed(*VERIFY).exit_code) == (2, 0)
    with pytest.raises(UsageError, match="standin is no Windows"):
        typed("plan.yaml", "--out", "rel", "--resume")


def test_the_last_release_is_compared_with(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing(monkeypatch, Runs())
    typed("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel")
    playing(monkeypatch, Runs(fails("linger-zero", 1)))
    last = ("--previous", "rel/echo-1.4.2.qualification.dsse.json")
    done = typed("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "next", *last)
    assert "since echo-1.4.2: wsklab on standin: linger-zero was pass, is flaky" in done.output
    with pytest.raises(UsageError, match="needs --previous-key"):
        typed("plan.yaml", "--rehearsal", "--out", "third", *last)
    with pytest.raises(UsageError, match="it was no go"):
        worse = "next/echo-1.4.2.qualification.dsse.json"
        typed("plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "third", "--previous", worse)


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        (REHEARSAL, (), "the target standin is no Windows and qualifies nothing"),
        (REHEARSAL + "options: [{verifier: standard}]\n", ("--rehearsal",), "has no Driver Verifier"),
        (REHEARSAL + "options: [{repeat: 3}]\n", ("--rehearsal",), "`options` cannot have 'repeat'"),
        (REHEARSAL + "options: [{verifier: nonsense}]\n", ("--rehearsal",), "--verifier nonsense: there is only"),
        (REHEARSAL + "options: [{isolate: 3}]\n", ("--rehearsal",), "the option 'isolate' has another value"),
        (REHEARSAL.replace("linger-zero", "lingr-zero"), ("--rehearsal",), "did you mean linger-zero"),
        (REHEARSAL + "drivers: [nobody]\n", ("--rehearsal",), "There is no driver profile 'nobody'"),
        (REHEARSAL.replace("{cov", "{flake_rate: 0.01, cov"), ("--rehearsal",), "set `repeats: 299`"),
        (PLAN + "drivers: ['wsklab:ignores-flag']\n", (), "windows-11"),
        (REHEARSAL, ("--rehearsal", "--certificate", "pub.pem"), "--certificate goes with --key"),
        (REHEARSAL, ("--rehearsal", "--key", "pub.pem"), "no private key in PEM that could sign"),
        (REHEARSAL, ("--rehearsal", "--key", "key.pem", "--certificate", "pub.pem"), "no certificates in PEM"),
        (REHEARSAL, ("--rehearsal", "--resume"), "no qualification has begun there"),
    ],
)
def test_a_mistake_is_told_before_anything_is_run(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: Sequence[str], says: str
) -> None:
    runs = playing(monkeypatch, Runs())
    (here / "plan.yaml").write_text(text)
    with pytest.raises(UsageError) as told:
        typed("plan.yaml", *words)
    assert says in str(told.value)
    assert runs.calls == []


def test_nobody_is_trusted_unasked(here: Path) -> None:
    with pytest.raises(UsageError, match="whom do you trust"):
        typed("verify", "plan.yaml")
    assert typed("verify", "plan.yaml", "--key", "pub.pem").exit_code == 3


def test_a_lab_that_changes_on_the_way_ends_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = playing(monkeypatch, Runs())
    (here / "plan.yaml").write_text(REHEARSAL + "boots: 2\n")
    labs = iter([LAB, LAB, LAB.model_copy(update={"sha256": "2" * 64})])
    monkeypatch.setattr(ingredients, "lab", lambda: next(labs))
    with pytest.raises(UsageError, match="wsklab itself was changed while this went on"):
        typed("plan.yaml", "--rehearsal")
    assert len(runs.calls) == 1


def test_the_words_of_a_plan_are_those_that_run_knows() -> None:
    known = qualify.options().keys()
    assert {"verifier", "isolate", "repeat", "jobs", "seed", "cold", "out", "target", "driver"} <= known
    assert conduct.ATTEMPTS == 2
