"""What goes into the database comes out of it, in SQLite and in a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from support.past import folder, row, run

from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.history import queries, recorder, records, where, writing
from wsklab.orchestrator.history.database import Database, file_system, newest, opened, url_of
from wsklab.orchestrator.history.tables import METADATA
from wsklab.orchestrator.run.runner import describe


def test_a_run_comes_out_as_it_went_in(database: Database) -> None:
    rows = [row("b"), row("a", "fail", reasons=["R5: clear", "and more"]), row("a", repeat=2)]
    with database.writing() as connection:
        assert writing.record(connection, run(), rows) == 3
    with database.reading() as connection:
        [kept] = queries.runs(connection)
        assert kept.run == run()
        assert queries.rows(connection, kept.id) == sorted(rows, key=lambda r: (r.scenario, r.repeat))
        assert queries.reasons(connection, "a", kept.id) == ("R5: clear", "and more")


def test_a_run_is_never_counted_twice(database: Database) -> None:
    with database.writing() as connection:
        writing.record(connection, run(state="killed", not_run=1), [row("a")])
    with database.writing() as connection:
        assert writing.record(connection, run(), [row("a"), row("b")]) == 1
    with database.reading() as connection:
        [kept] = queries.runs(connection)
        assert (kept.run.state, kept.run.not_run) == ("complete", 0), "what was known of it later holds"
        assert {name: cell[kept.id].counts for name, cell in queries.grid(connection, [kept.id]).items()} == {
            "a": {"pass": 1},
            "b": {"pass": 1},
        }


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('"twin": null', '"twin": "ignores-flag"', "wsklab:ignores-flag on standin (tcg)"),
        ('"kind": "standin"', '"kind": "standin", "strict": {"seed": 1}', "wsklab on standin (tcg, strict)"),
    ],
)
def test_a_twin_and_a_strict_run_are_no_past_of_the_plain_driver(
    tmp_path: Path, was: str, becomes: str, said: str
) -> None:
    plain, _ = records.read(folder(tmp_path / "plain", {"a": ["pass"]}), "here")
    file = folder(tmp_path / "other", {"a": ["fail"]}) / "results.json"
    file.write_text(file.read_text(encoding="utf-8").replace(was, becomes), encoding="utf-8")
    other, _ = records.read(tmp_path / "other", "here")
    assert (str(plain.environment), str(other.environment)) == ("wsklab on standin (tcg)", said)


def test_the_past_of_a_scenario_is_counted_by_run(database: Database) -> None:
    with database.writing() as connection:
        for number in (1, 2):
            verdicts = [row(repeat=1), row(repeat=2, verdict="fail" if number == 2 else "pass", total_ms=900)]
            writing.record(connection, run(number), verdicts)
    with database.reading() as connection:
        first, second = queries.runs(connection)
        cells = queries.past(connection, "linger-zero")
        assert cells[first.id].counts == {"pass": 2}
        assert cells[second.id] == queries.Cell({"pass": 1, "fail": 1}, {"pass": 500.0, "fail": 900.0})
        assert queries.past(connection, "nobody-ran-this") == {}


@pytest.mark.parametrize(("word", "name"), [("last", "run-3"), ("run-2", "run-2"), ("1", "run-1")])
def test_a_run_is_found_by_what_a_user_calls_it(database: Database, word: str, name: str) -> None:
    with database.writing() as connection:
        for number in (1, 2, 3):
            writing.record(connection, run(number), [])
    with database.reading() as connection:
        assert queries.run(connection, word).run.name == name
        with pytest.raises(UsageError, match="no run 'nobody'"):
            queries.run(connection, "nobody")


WRITERS = 12
"""At once: with so many, a file whose journal's mode they change side by side fails one time in ten, not in fifty."""


def test_writers_at_once_all_get_in(history: str) -> None:
    """All are new here, and want the same scenario: nobody fails, and it has one number."""
    failed: list[BaseException] = []
    together = threading.Barrier(WRITERS)

    def write(number: int) -> None:
        try:
            together.wait()
            with opened(url_of(history)) as database, database.writing() as connection:
                writing.record(connection, run(number), [row(), row("b")])
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(1, WRITERS + 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    with opened(url_of(history)) as database, database.reading() as connection:
        assert len(queries.past(connection, "linger-zero")) == WRITERS


def test_the_migrations_make_the_tables_that_the_code_asks(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == newest()


def test_a_database_of_a_later_version_is_left_alone(history: str) -> None:
    with opened(url_of(history)) as database, database.writing() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LabError, match=r"revision 9999.*newer wsklab"), opened(url_of(history)):
        pass


def test_a_write_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(ZeroDivisionError), database.writing() as connection:
        writing.record(connection, run(), [row()])
        raise ZeroDivisionError
    with database.reading() as connection:
        assert (queries.runs(connection), queries.scenarios(connection)) == ([], [])


def test_a_killed_run_is_there_and_marked(database: Database, tmp_path: Path) -> None:
    path = folder(tmp_path / "killed", {"a": ["pass"], "b": ["pass", "fail"]}, state="running")
    lines = (path / "results.jsonl").read_bytes()
    (path / "results.jsonl").write_bytes(lines[:-20])  # the kill came within the last line
    assert recorder.save(database, path) == 2
    with database.reading() as connection:
        [kept] = queries.runs(connection)
    assert (kept.run.state, kept.run.why, kept.run.not_run) == ("killed", "the run was killed", 1)


def test_what_the_folder_of_no_run_is_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no results\.json"):
        records.read(tmp_path, "here")
    (tmp_path / "results.json").write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(UsageError, match="schema 2"):
        records.read(tmp_path, "here")
    (tmp_path / "results.json").write_text('{"schema": 2, "state": "complete"}', encoding="utf-8")
    with pytest.raises(UsageError, match="wsklab results schema"):
        records.read(tmp_path, "here")


def test_a_run_is_the_same_from_wherever_its_folder_was_moved_to(tmp_path: Path) -> None:
    before, _ = records.read(folder(tmp_path / "one" / "r", {"a": ["pass"]}), "here")
    after, _ = records.read(folder(tmp_path / "two" / "r", {"a": ["pass"]}), "there")
    other, _ = records.read(folder(tmp_path / "three" / "r", {"a": ["pass"]}, started="2026-01-02T00:00:00Z"), "here")
    assert before.key == after.key != other.key
    assert replace(before, folder="", node="") == replace(after, folder="", node="")


@pytest.mark.parametrize("text", ["mysql://host/name", "sqlite+nonsense:///x", "oracle://"])
def test_a_url_that_is_none_is_a_users_mistake(text: str) -> None:
    with pytest.raises(UsageError, match="postgresql://"):
        url_of(text)


def test_a_password_is_never_shown() -> None:
    said: list[str] = []
    try:
        with opened(url_of("postgresql://me:secret@127.0.0.1:1/x")):
            pass
    except LabError as error:
        said.append(str(error))
    assert "127.0.0.1" in said[0]
    assert "secret" not in said[0]


MOUNTS = """22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /home rw shared:2 - nfs4 server:/home rw
31 30 0:31 / /home/a\\040b rw shared:2 - tmpfs none rw
"""


@pytest.mark.parametrize(("path", "kind"), [("/var", "ext4"), ("/home/me", "nfs4"), ("/home/a b/c", "tmpfs")])
def test_the_file_system_of_a_folder_is_known(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_sqlite_on_another_host_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsklab.orchestrator.history.database.file_system", lambda *_: "nfs4")
    with pytest.raises(UsageError, match="PostgreSQL"), opened(url_of(str(tmp_path / "h.sqlite"))):
        pass


def test_a_run_begins_without_the_databases_library() -> None:
    """Its import takes longer than all the rest of a run's beginning."""
    code = (
        "import sys; import wsklab.orchestrator.commands.run; "
        "print([n for n in ('sqlalchemy', 'alembic', 'psycopg') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


Warnings = list[str]


@pytest.fixture
def begun(history: str, tmp_path: Path) -> Callable[[str], tuple[recorder.Recorder, Path, Warnings]]:
    """Provide a run that has begun and written that it goes on."""

    def begin(name: str, to: str = "") -> tuple[recorder.Recorder, Path, Warnings]:
        path, said = folder(tmp_path / name, {"a": ["pass"]}, state="running"), Warnings()
        found = recorder.Recorder(to or history, path, said.append)
        found.begin()
        return found, path, said

    return begin


Begin = Callable[..., tuple[recorder.Recorder, Path, Warnings]]


def test_a_run_records_itself(begun: Begin, history: str, home: Path) -> None:
    run_, _, said = begun("r")
    assert len(list((home / "wsklab/under-way").iterdir())) == 1
    run_.end()
    with recorder.opened(history) as database, database.reading() as connection:
        assert [kept.run.name for kept in queries.runs(connection)] == ["r"]
    assert (said, list((home / "wsklab/under-way").iterdir())) == ([], [])


def test_a_run_that_was_killed_is_found_by_who_opens_the_history_next(begun: Begin, history: str) -> None:
    begun("killed")
    later, _, _ = begun("later")
    later.end()
    with recorder.opened(history) as database, database.reading() as connection:
        assert {kept.run.name: kept.run.state for kept in queries.runs(connection)}["killed"] == "killed"


def test_a_run_that_goes_on_is_not_taken_for_killed(begun: Begin, history: str) -> None:
    import fcntl

    _, path, _ = begun("alive")
    with (path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with recorder.opened(history) as database, database.reading() as connection:
            assert queries.runs(connection) == []
    with recorder.opened(history) as database, database.reading() as connection:
        assert len(queries.runs(connection)) == 1


def test_a_database_that_fails_is_a_warning_and_the_run_is_recorded_later(begun: Begin, tmp_path: Path) -> None:
    path = tmp_path / "not-yet"
    path.mkdir()
    run_, _, said = begun("r", to=str(path))  # a folder is no database
    run_.end()
    assert len(said) == 1
    assert "not recorded" in said[0]
    path.rmdir()
    with recorder.opened(str(path)) as database, database.reading() as connection:
        assert [kept.run.name for kept in queries.runs(connection)] == ["r"]


def test_a_run_whose_folder_is_gone_is_forgotten(begun: Begin, history: str, home: Path) -> None:
    import shutil

    _, path, _ = begun("gone")
    shutil.rmtree(path)
    with recorder.opened(history) as database, database.reading() as connection:
        assert queries.runs(connection) == []
    assert list((home / "wsklab/under-way").iterdir()) == []


def test_off_records_nothing(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_HISTORY", "off")
    recorder.Recorder(None, folder(tmp_path / "r", {"a": ["pass"]}), list[str]().append).begin()
    assert not home.exists()


def test_a_history_named_by_a_relative_path_is_the_same_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert where.chosen("h.sqlite") == str(tmp_path / "h.sqlite")
    assert where.chosen("postgresql://x/y") == "postgresql://x/y"


def test_a_run_tells_its_command_without_the_password(tmp_path: Path) -> None:
    said = describe("wsklab run --history postgresql://me:se:cret@db/h linger-zero", 1, "tcg", {}, tmp_path)
    assert said["command"] == "wsklab run --history postgresql://me:***@db/h linger-zero"
    assert said["uuid"] != describe("", 1, "tcg", {}, tmp_path)["uuid"]


def test_a_server_knows_of_a_run_from_its_beginning(begun: Begin, on_server: str) -> None:
    """A host that dies takes its notes with it."""
    run_, path, said = begun("r", to=on_server)
    assert run_.getting_ready is not None
    run_.getting_ready.join()
    with opened(url_of(on_server)) as database, database.reading() as connection:
        assert [kept.run.state for kept in queries.runs(connection)] == ["running"]
    document = (path / "results.json").read_text(encoding="utf-8")
    (path / "results.json").write_text(document.replace('"running"', '"complete"'), encoding="utf-8")
    run_.end()
    with opened(url_of(on_server)) as database, database.reading() as connection:
        [kept] = queries.runs(connection)
        assert (kept.run.state, len(queries.rows(connection, kept.id))) == ("complete", 1)
    assert said == []


def test_a_scenario_on_a_variant_of_the_machine_has_a_past_of_its_own(tmp_path: Path) -> None:
    path = folder(tmp_path / "r", {"a": ["pass"]})
    rows = path / "results.jsonl"
    line = rows.read_text(encoding="utf-8")
    rows.write_text(line + line.replace('"name": "a"', '"name": "a", "variant": "e1000"'), encoding="utf-8")
    assert [found.scenario for found in records.read(path, "here")[1]] == ["a", "a [e1000]"]
