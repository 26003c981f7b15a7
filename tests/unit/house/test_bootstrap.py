"""./lab on a machine that is played: what it installs, as whom, and what it says when it cannot."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = (
    "bash",
    "sh",
    "cat",
    "chmod",
    "cut",
    "dirname",
    "env",
    "flock",
    "mkdir",
    "mktemp",
    "pwd",
    "readlink",
    "rm",
    "sha256sum",
    "tail",
)
COMMANDS = (
    "qemu-system-x86_64",
    "qemu-img",
    "mmdebstrap",
    "mke2fs",
    "x86_64-w64-mingw32-gcc",
    "gcc",
    "ssh-keygen",
    "newuidmap",
    "fakeroot",
)

PYTHON = """
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; echo "#!/bin/sh" >.venv/bin/python; cat "$0" >>.venv/bin/python
             chmod +x .venv/bin/python; echo pip >.venv/pip ;;
*"-m pip --version"*) cat .venv/pip ;;
*"-m wsklab.orchestrator"*) echo "in $PWD: $*" ;;
esac
"""


class Played:
    """A checkout with `lab` alone, and a machine on which the log tells who was called."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log, self.checkout = folder / "bin", folder / "log", folder / "checkout"
        self.settings: dict[str, str] = {}  # variables of the user's
        self.bin.mkdir()
        self.checkout.mkdir()
        (self.checkout / "orchestrator" / "trials").mkdir(parents=True)
        for file in ("lab", "orchestrator/trials/host_packages.tsv", "requirements.lock"):
            shutil.copy(ROOT / file, self.checkout / file)
        (self.checkout / "pyproject.toml").touch()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or "/nowhere")
        for name in COMMANDS:
            self.has(name)
        self.has("id", "echo 0")
        self.has("python3", PYTHON)
        self.has("dpkg")
        self.has("apt-get")

    def has(self, name: str, does: str = "") -> None:
        """Make a program that notes how it was called, and then does this."""
        program = self.bin / name
        program.write_text(f'#!/bin/sh\n[ {name} = id ] || echo "{name} $*" >>{self.log}\n{does}\n')
        program.chmod(0o755)

    def without(self, file: str) -> None:
        """Have a file that is needed not be there."""
        wanted = self.checkout / "orchestrator/trials/host_packages.tsv"
        wanted.write_text(wanted.read_text().replace(file, f"/nowhere{file}"))

    def lacks(self, name: str) -> None:
        (self.bin / name).unlink()

    def start(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        # Without /usr/sbin, where `lab` looks too, nothing of the real machine is seen.
        script = (self.checkout / "lab").read_text().replace(":/usr/sbin:/sbin", "")
        (self.checkout / "lab").write_text(script)
        return subprocess.Popen(
            [self.checkout / "lab", *words],
            cwd=cwd or self.checkout,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": str(self.bin), "TMPDIR": str(self.bin.parent), **self.settings},
        )

    def lab(self, *words: str, cwd: Path | None = None) -> tuple[int, str, str]:
        process = self.start(*words, cwd=cwd)
        said, errors = process.communicate()
        return process.returncode, said, errors

    def calls(self, *names: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.split()[0] in names]


@pytest.fixture
def played(tmp_path: Path) -> Played:
    return Played(tmp_path)


def test_with_everything_there_it_is_wsklab_in_the_callers_folder(played: Played, tmp_path: Path) -> None:
    played.lab()
    code, said, errors = played.lab("run", "linger-zero", cwd=tmp_path)
    assert (code, said, errors) == (0, f"in {tmp_path}: -m wsklab.orchestrator run linger-zero\n", "")
    assert played.calls("apt-get", "dpkg") == []


def test_what_is_missing_is_installed_and_told(played: Played) -> None:
    played.lacks("mmdebstrap")
    played.lacks("mke2fs")
    code, _, errors = played.lab("run")
    assert code == 0
    assert errors.startswith("Installing Debian packages: mmdebstrap e2fsprogs\n")
    assert "s  Debian packages\n" in errors
    assert errors.endswith("s  virtual environment, begun beside the packages\n")
    first, second, third = played.calls("dpkg", "apt-get")
    assert first == "dpkg --configure -a", "an interrupted installation is repaired"
    assert second == "apt-get update"
    assert third.startswith("apt-get install ") and third.endswith(" mmdebstrap e2fsprogs")


def test_a_host_without_apt_is_told_its_own_package_names(played: Played) -> None:
    played.lacks("apt-get")
    played.lacks("mke2fs")
    played.lacks("ssh-keygen")
    code, _, errors = played.lab("run")
    assert code == 2
    assert errors.startswith("lab: this host has neither apt-get nor dnf; install by hand (Fedora's names): ")
    played.has("dnf")
    code, _, errors = played.lab("run")
    assert code == 2
    assert errors == (
        "lab: packages are missing; run `sudo dnf install e2fsprogs openssh-clients`, then this command again.\n"
    )


def test_versions_are_the_locked_ones(played: Played) -> None:
    played.lab("run")
    assert any("--constraint requirements.lock" in call for call in played.calls("python3"))


def test_a_run_installs_without_compiling_and_tests_do_not(played: Played) -> None:
    played.lab("run")
    played.lab("test")
    [for_runs, for_tests] = [call for call in played.calls("python3") if "pip install" in call]
    assert " --no-compile " in for_runs and "--no-compile" not in for_tests


def test_bytecode_is_kept_where_none_may_go_beside_the_sources(played: Played) -> None:
    played.has("python3", PYTHON.replace('"in $PWD: $*"', '"$PYTHONDONTWRITEBYTECODE:$PYTHONPYCACHEPREFIX"'))
    assert played.lab("run")[1] == ":\n"
    played.settings = {"PYTHONDONTWRITEBYTECODE": "1"}
    assert played.lab("run")[1] == f":{played.checkout}/.venv/bytecode\n"


def test_what_only_windows_needs_is_installed_where_it_is_named(played: Played) -> None:
    for name in ("ntfscat", "osslsigncode"):
        if (played.bin / name).exists():
            played.lacks(name)
    assert played.lab("run")[0] == 0 and played.calls("apt-get") == []
    assert played.lab("run", "--target", "windows-2022")[0] == 0
    assert played.calls("apt-get")[-1].endswith(" osslsigncode swtpm ntfs-3g")


@pytest.mark.parametrize("word", ["--view", "--hold", "--hold=always"])
def test_what_shows_screens_is_installed_where_they_are_wanted(played: Played, word: str) -> None:
    played.without("/usr/share/novnc/core/rfb.js")
    assert played.lab("run")[0] == 0 and played.calls("apt-get") == []
    assert played.lab("run", word, "linger-zero")[0] == 0
    assert played.calls("apt-get")[-1].endswith(" novnc")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Provide a named pipe: who reads it waits until somebody writes, and the other way round."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


INSTALLS = '*"-m pip install"*'
"""What the python3 of these tests is called with by the installation of packages."""


def test_the_virtual_environment_is_made_while_packages_are_installed(played: Played, pipe: Path) -> None:
    played.lacks("gcc")
    played.has("apt-get", f'[ "$1" != install ] || read -r _ <{pipe}')
    played.has("python3", PYTHON.replace("esac", f"{INSTALLS}) echo >{pipe} ;;\nesac"))
    with played.start("run") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors.startswith("Installing Debian packages: gcc\n")
    assert errors.endswith("s  virtual environment, begun beside the packages\n")
    assert sum("-m venv" in call for call in played.calls("python3")) == 1


def test_one_that_cannot_be_made_without_the_packages_is_made_after_them(played: Played, tmp_path: Path) -> None:
    played.lacks("gcc")
    played.has("apt-get", f'[ "$1" != install ] || : >{tmp_path}/installed')
    played.has("python3", PYTHON.replace("esac", f"{INSTALLS}) [ -e {tmp_path}/installed ] || exit 1 ;;\nesac"))
    code, _, errors = played.lab("run")
    assert code == 0
    assert "lab:" not in errors
    assert (played.checkout / ".venv/.ready").exists()


def test_an_interruption_ends_what_is_made_beside_the_packages(played: Played, pipe: Path) -> None:
    played.lacks("gcc")
    played.has("apt-get", f'[ "$1" != install ] || exec cat {pipe}.other')  # waits for ever
    played.has("python3", PYTHON.replace("esac", f"{INSTALLS}) exec cat {pipe}.other >{pipe} ;;\nesac"))
    os.mkfifo(f"{pipe}.other")
    process = played.start("run")
    with pipe.open("rb") as installs:  # pip has begun
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
        assert installs.read() == b"", "pip is gone, which held the other end"


def test_anybody_but_root_goes_through_sudo(played: Played) -> None:
    played.lacks("gcc")
    played.has("id", "echo 1000")
    code, _, errors = played.lab("run")
    assert code == 2
    assert errors == "lab: these Debian packages are missing: gcc. Install them as root, or install sudo.\n"
    played.has("sudo", '"$@"')
    assert played.lab("run")[0] == 0
    assert [call.split()[1] for call in played.calls("sudo")] == ["dpkg", "apt-get", "env"]


def test_where_apt_fails_its_last_words_and_one_sentence_are_shown(played: Played) -> None:
    played.lacks("gcc")
    played.has("apt-get", "for n in 1 2 3 4 5; do echo line $n; done; exit 100")
    code, _, errors = played.lab("run")
    assert code == 2
    shown = errors.splitlines()
    assert shown[1:4] == ["line 3", "line 4", "line 5"]
    assert shown[4].startswith("lab: apt-get failed; is the network up, and are Debian's sources set? (all it said: ")
    assert "line 1" in Path(shown[4].rpartition(" ")[2].rstrip(")")).read_text()


def test_a_virtual_environment_is_made_once_and_again_when_something_is_wrong_with_it(
    played: Played, tmp_path: Path
) -> None:
    def made() -> int:
        played.log.unlink(missing_ok=True)
        assert played.lab("run")[0] == 0
        return sum("-m venv" in call for call in played.calls("python3"))

    assert [made(), made()] == [1, 0]
    (played.checkout / ".venv" / ".ready").unlink()
    (played.checkout / ".venv" / "pip").unlink()  # interrupted before pip was in it
    assert [made(), made()] == [1, 0]
    copied = played.checkout.rename(tmp_path / "copied")  # it would run the code of the other checkout
    played.checkout = copied
    assert "virtual environment" in played.lab("run")[2]
    (copied / "pyproject.toml").write_text("changed")
    assert "virtual environment" in played.lab("run")[2]
    assert "virtual environment" not in played.lab("run")[2]


def test_two_first_runs_wait_for_each_other(played: Played) -> None:
    other = os.open(played.checkout, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    process = played.start("run")
    assert process.stderr
    assert process.stderr.readline() == "Waiting for another ./lab, which prepares this folder\n"
    os.close(other)
    said, _ = process.communicate()
    assert process.returncode == 0
    assert said.endswith("-m wsklab.orchestrator run\n")


def test_what_the_unit_tests_reach_is_printed_on_request(played: Played) -> None:
    code, _, errors = played.lab("test", "--coverage", "-k", "judge")
    assert code == 0, errors
    words = (
        "tests/unit -n 2 --dist loadfile --no-loadscope-reorder --cov=wsklab --cov-report=term:skip-covered -k judge"
    )
    assert any(call.endswith(f"-m pytest {words}") for call in played.calls("python3"))
