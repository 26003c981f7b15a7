"""Children end with us, even when we are killed, and their end is noticed at once."""

import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child

PARENT = """
import sys, threading
from pathlib import Path
from wsklab.qemu.process import Child
from wsklab.qemu.wire.control import Wire
folder = Path(sys.argv[1])
started = []
def start():  # from a thread that ends at once: the children must not end with it
    started.append(Child(["sleep", "600"], folder / "stderr").pid)
    wire = Wire(folder); wire.start(); started.append(wire._child.pid)
thread = threading.Thread(target=start); thread.start(); thread.join()
print(*started, flush=True)
threading.Event().wait()
"""


def test_a_killed_orchestrator_leaves_nothing_behind(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    assert not select.select(children, [], [], 0)[0], "a child ended before its parent"
    parent.kill()
    parent.wait()
    for child in children:
        assert select.select([child], [], [], 5)[0], "a child outlived its parent"
        os.close(child)
    parent.stdout.close()


def test_an_exit_is_told_at_once(tmp_path: Path) -> None:
    told, codes = threading.Event(), list[int]()

    def on_exit(code: int) -> None:
        codes.append(code)
        told.set()

    child = Child(["sh", "-c", "echo oops >&2; exit 7"], tmp_path / "stderr", on_exit=on_exit)
    assert child.wait(within(5)) == 7
    assert told.wait(5)
    assert codes == [7]
    assert child.stderr_tail() == "oops\n"


def test_wait_gives_up_at_the_deadline_and_a_signal_is_negative(tmp_path: Path) -> None:
    child = Child(["sleep", "600"], tmp_path / "stderr")
    assert child.wait(within(0.01)) is None
    child.kill()
    assert child.wait(within(5)) == -signal.SIGKILL
    child.kill()  # harmless


def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    child = Child(["/nonexistent/qemu"], tmp_path / "stderr")
    assert child.wait(within(5)) == 127
    assert "not found" in child.stderr_tail()


FAMILY = """
import sys
from pathlib import Path
from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child
script = 'trap "rm half; exit 25" TERM; sleep 600 & touch half; echo $$ $!; wait'
child = Child(["sh", "-c", "cd " + sys.argv[1] + ";" + script], Path(sys.argv[1], "log"), tidies=True)
sys.stdin.readline()
child.terminate()
print(child.wait(within(5)), flush=True)
"""


@pytest.mark.parametrize("how", ["terminate", "death"])
def test_a_child_with_children_clears_away_and_leaves_none(tmp_path: Path, how: str) -> None:
    (tmp_path / "log").touch()
    parent = subprocess.Popen(
        [sys.executable, "-c", FAMILY, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with subprocess.Popen(["tail", "-n", "+1", "-F", str(tmp_path / "log")], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout
        family = [os.pidfd_open(int(pid)) for pid in tail.stdout.readline().split()]
        tail.kill()
    assert len(family) == 2 and (tmp_path / "half").exists()
    if how == "death":
        parent.kill()
    else:
        assert parent.communicate("now\n")[0] == "143\n"
    for member in family:
        assert select.select([member], [], [], 5)[0], "a member of the family lives"
        os.close(member)
    assert not (tmp_path / "half").exists()
    parent.communicate()


def test_the_code_of_a_child_with_children_is_its_own(tmp_path: Path) -> None:
    assert Child(["sh", "-c", "exit 7"], tmp_path / "log", tidies=True).wait(within(5)) == 7
    assert Child(["true"], tmp_path / "log", tidies=True).wait(within(5)) == 0


def test_what_nobody_wants_to_hear_is_kept_nowhere_and_no_device_is_harmed() -> None:
    child = Child(["sh", "-c", "echo said >&2"], None)
    assert child.wait(within(60)) == 0
    assert child.stderr_tail() == ""
    assert Path(os.devnull).is_char_device()


def test_last_words_whose_file_went_away_with_its_folder_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    child = Child(["sh", "-c", "echo oops >&2"], folder / "stderr")
    child.wait(within(10))
    folder.rename(tmp_path / "elsewhere")
    assert child.stderr_tail() == ""
