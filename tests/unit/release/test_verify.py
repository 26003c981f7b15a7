"""A statement is refused after one byte was changed anywhere; and one that was signed in error, too."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from support.qualified import KEY, NOW, PLAN, Runs, fails, qualified, statement_of

from wsklab.orchestrator.release import envelope, index, release, statement, verify
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.verify import Trust, Verified

TRUST = Trust((KEY.public_key,))


def verified(path: Path, trust: Trust = TRUST, **options: Any) -> Verified:
    """Check it, an hour later."""
    return verify.verify(path, trust, NOW + timedelta(hours=1), **options)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the statement of a qualification that is a go."""
    return statement_of(qualified(tmp_path_factory.mktemp("original")))


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """Provide the same, in a folder of its own, as on another machine."""
    return shutil.copytree(original.parent, tmp_path / "elsewhere") / original.name


def test_it_holds_on_another_machine(copy: Path) -> None:
    found = verified(copy)
    assert (found.predicate.result, found.pruned) == ("go", 0)
    assert KEY.public_key.keyid in found.signer


def test_every_byte_of_the_envelope_counts(original: Path) -> None:
    content, held = bytearray(original.read_bytes()), []
    for place in range(len(content)):
        content[place] ^= 1
        try:
            envelope.opened(bytes(content), TRUST.keys)
            held.append(place)
        except Refused:
            pass
        content[place] ^= 1
    assert held == []
    assert envelope.opened(bytes(content), TRUST.keys)


CHANGES = st.tuples(st.integers(0, 1 << 30), st.integers(1, 255))


@given(st.lists(CHANGES, min_size=1, max_size=3), st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_the_envelope_passes(original: Path, changes: list[tuple[int, int]], cut: bool) -> None:
    whole = original.read_bytes()
    content = bytearray(whole)
    for place, bits in changes:
        content[place % len(content)] ^= bits
    changed = bytes(content[: changes[0][0] % len(content)] if cut else content)
    if changed != whole:
        with pytest.raises(Refused):
            envelope.opened(changed, TRUST.keys)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to each value of a document."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(below, (*path, key))
    if not isinstance(value, dict | list) or not value:
        yield path


def other(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return f"{value}x"
        case list():
            return ["x"]
        case dict():
            return {"x": 1}
    return "x"


def test_every_field_counts(original: Path) -> None:
    content = original.read_bytes()
    told, sealed = json.loads(envelope.opened(content, TRUST.keys)), json.loads(content)
    ways = list(leaves(told))
    assert len(ways) > 100
    for *above, last in ways:
        at = told
        for key in above:
            at = at[key]
        kept, at[last] = at[last], other(at[last])
        changed = b64encode(json.dumps(told, indent=1).encode() + b"\n").decode()
        with pytest.raises(Refused):
            envelope.opened(json.dumps(sealed | {"payload": changed}, indent=1).encode() + b"\n", TRUST.keys)
        at[last] = kept
    same = b64encode(json.dumps(told, indent=1).encode() + b"\n").decode()
    assert envelope.opened(json.dumps(sealed | {"payload": same}, indent=1).encode() + b"\n", TRUST.keys)


def everything(folder: Path) -> list[Path]:
    """All files of the release."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_one_byte_of_any_file_counts(copy: Path) -> None:
    files = everything(copy.parent)
    assert len(files) > 15
    for path in files:
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(Refused):
                verified(copy)
        path.write_bytes(content)
    assert verified(copy).predicate.decision.go


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_a_file_passes(copy: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(everything(copy.parent)))
    content = path.read_bytes()
    place, bits = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    try:
        path.write_bytes(content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :])
        with pytest.raises(Refused):
            verified(copy)
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("number", range(4))
def test_a_file_that_is_gone_or_new_counts(copy: Path, number: int) -> None:
    needed = ("plan.yaml", "qualification.html", "begun.json", "echo-1.4.2.test-result.dsse.json")[number]
    (copy.parent / needed).unlink()
    with pytest.raises(Refused, match=needed.replace(".", r"\.")):
        verified(copy)


def test_a_row_that_is_gone_counts_and_so_does_a_file_that_was_added(copy: Path) -> None:
    (rows,) = copy.parent.rglob("results.jsonl")
    (rows.parent / "extra.txt").write_text("here")
    with pytest.raises(Refused, match="put there after it was signed"):
        verified(copy)
    (rows.parent / "extra.txt").unlink()
    rows.write_bytes(rows.read_bytes().partition(b"\n")[2])
    with pytest.raises(Refused, match=r"results\.jsonl is not what it was"):
        verified(copy)


def test_evidence_may_be_pruned_and_that_is_told(copy: Path) -> None:
    (evidence,) = copy.parent.rglob("evidence")
    shutil.rmtree(evidence)
    assert verified(copy).pruned == 7


def test_it_may_be_checked_alone(original: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copy(original, tmp_path))
    assert verified(alone, alone=True).predicate.result == "go"
    with pytest.raises(Refused, match=r"evidence\.sha256: No such file"):
        verified(alone)


def test_the_key_must_be_the_verifiers(original: Path) -> None:
    other = CryptoSigner(Ed25519PrivateKey.generate())
    with pytest.raises(Refused, match="not of this key"):
        verified(original, Trust((other.public_key,)))
    with pytest.raises(Refused):
        verified(original, Trust())


def test_its_driver_must_be_the_one_that_is_asked_about(original: Path, tmp_path: Path) -> None:
    (tmp_path / "other.sys").write_bytes(b"MZ")
    with pytest.raises(Refused, match="none of the drivers that it is about"):
        verified(original, drivers=[tmp_path / "other.sys"])


def test_the_driver_that_it_is_about_is_found(tmp_path: Path) -> None:
    (tmp_path / "my.sys").write_bytes(b"MZ")
    runs = Runs(driver={"name": "my", "sha256": sha256(b"MZ").hexdigest()})
    path = statement_of(qualified(tmp_path, runs))
    assert verified(path, drivers=[tmp_path / "my.sys"]).predicate.decision.go


def test_a_rehearsal_never_looks_like_a_go(tmp_path: Path) -> None:
    path = statement_of(qualified(tmp_path, Runs(qualifying=False), rehearsal=True))
    with pytest.raises(Refused, match="it is a rehearsal, which qualifies nothing"):
        verified(path)
    assert verified(path, rehearsal=True).predicate.result == "rehearsal-go"


def test_it_is_not_from_the_future(original: Path) -> None:
    with pytest.raises(Refused, match="which is to come"):
        verify.verify(original, TRUST, NOW - timedelta(days=1))


def test_two_statements_cannot_be_put_together(copy: Path, tmp_path: Path) -> None:
    other = statement_of(qualified(tmp_path / "other", Runs(driver={"name": "wsklab", "sha256": "e" * 64})))
    mine, theirs = (path.with_name("echo-1.4.2.test-result.dsse.json") for path in (copy, other))
    shutil.copy(theirs, mine)
    with pytest.raises(Refused, match="of another qualification"):
        verified(copy)
    shutil.copy(other, copy)
    with pytest.raises(Refused, match=r"evidence\.sha256 is not what it was"):
        verified(copy)


def resigned(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Sign a lie with the right key, the index being made anew."""
    folder = path.parent
    listed = index.made(folder)
    (folder / index.NAME).write_text(listed)
    told = json.loads(envelope.opened(path.read_bytes(), TRUST.keys))
    told["predicate"]["evidence"] = {"sha256": sha256(listed.encode()).hexdigest(), "files": listed.count("\n")}
    change(told["predicate"])
    predicate = statement.Predicate.model_validate_json(json.dumps(told["predicate"]))
    path.write_bytes(envelope.signed(statement.payload(predicate), KEY))
    path.with_name(release.names(predicate)[1]).write_bytes(envelope.signed(statement.test_result(predicate), KEY))


def lies() -> Iterator[tuple[str, Callable[[dict[str, Any]], None]]]:
    """Yield what the statement says -> how it is made to."""

    def counts(told: dict[str, Any]) -> None:
        count = next(c for c in told["cells"][0]["scenarios"] if c["scenario"] == "linger-zero")
        count |= {"passed": 3, "failed": 0, "reasons": []}
        told |= {"result": "go", "decision": {"reasons": [], "remarks": []}}

    yield "do not come to go", lambda told: told.update(result="go")
    yield "come to other counts than it states", counts
    yield "another plan than plan.yaml", lambda told: told["plan"].update(title="another")
    yield "another beginning", lambda told: told["begun"].update(begun="2026-01-01T00:00:00Z")
    yield (
        "other errata than known.yaml",
        lambda told: told.update(
            errata=[{"scenario": "linger-zero", "reason": "flags 0x0", "why": "a lie", "until": "2027-01-01"}]
        ),
    )


@cache
def told_lies() -> list[tuple[str, Callable[[dict[str, Any]], None]]]:
    """All of them."""
    return list(lies())


@pytest.mark.parametrize("number", range(5))
def test_what_can_be_computed_is_not_believed(tmp_path: Path, number: int) -> None:
    path = statement_of(qualified(tmp_path, Runs(fails("linger-zero", 2)), PLAN.replace("C01, C05", "C01")))
    assert verified(path).predicate.result == "no-go"
    says, lie = told_lies()[number]
    resigned(path, lie)
    with pytest.raises(Refused, match=says):
        verified(path)
