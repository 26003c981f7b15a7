"""The package stage: Debian packages from the host's own mirror, unpacked and cut to what the recipe keeps."""

import json
import os
import re
import shlex
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from wsklab.images import tools
from wsklab.images.elf import module_dependencies
from wsklab.images.errors import ImageError
from wsklab.images.recipe import HERE, Recipe
from wsklab.images.secure import sha256
from wsklab.images.slim import Tree
from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child

Progress = Callable[[str], None]

_PATH = "PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/lib/busybox"
_PACKAGE_LIST = "wsklab-packages"
_HASHES = "hashes.json"
_PATIENCE = 6 * 3600.0  # s for a few hundred MB over whatever network there is
_TIDYING = 10.0  # s for mmdebstrap to clear away; measured: 0.3
_NETWORK_SIGNS = (
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Connection failed",
    "Unable to connect",
    "Network is unreachable",
)
_NO_NAMESPACES = "unable to pick chroot mode"


@dataclass(frozen=True)
class PackageStage:
    """What the package stage leaves in its folder."""

    folder: Path

    @property
    def root(self) -> Path:
        """The kept part of the root file system, a tar archive."""
        return self.folder / "root.tar"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "vmlinuz"

    @property
    def modules(self) -> list[Path]:
        """Kernel modules in the order of loading."""
        return sorted((self.folder / "modules").iterdir())

    @property
    def versions(self) -> dict[str, str]:
        """Every Debian package that was unpacked, with its version."""
        found: dict[str, str] = json.loads((self.folder / "versions.json").read_text())
        return found

    def seal(self) -> None:
        """Write down the hash of every file that an image is made of."""
        (self.folder / _HASHES).write_text(json.dumps(self._hashes(), indent=1, sort_keys=True))

    @property
    def intact(self) -> bool:
        """Whether every file is as it was when `seal` was called."""
        try:
            sealed: object = json.loads((self.folder / _HASHES).read_text())
            return sealed == self._hashes()
        except (OSError, ValueError):
            return False

    def _hashes(self) -> dict[str, str]:
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name != _HASHES]
        return {str(path.relative_to(self.folder)): sha256(path) for path in files}


def make(recipe: Recipe, folder: Path, log: Path, progress: Progress) -> PackageStage:
    """Fill an empty folder. Raises ImageError; the output of mmdebstrap is in `log`."""
    full = folder / "full.tar"
    progress(f"downloading and unpacking {len(recipe.packages)} Debian packages and what they need")
    _mmdebstrap(recipe, full, folder, log)
    progress("keeping what the guest needs")
    with tarfile.open(full) as archive:
        tree = Tree(archive)
        with tarfile.open(folder / "root.tar", "w", format=tarfile.PAX_FORMAT) as kept:
            tree.copy(tree.closure(tree.match(recipe.keep)), kept)
        (folder / "vmlinuz").write_bytes(tree.read(tree.match(["boot/vmlinuz-*"])[0]))
        (folder / "modules").mkdir()
        for number, (name, content) in enumerate(ordered_modules(tree, recipe.modules).items()):
            (folder / "modules" / f"{number:02}-{name}.ko").write_bytes(content)
        versions = parse_package_list(tree.read(_PACKAGE_LIST).decode())
    (folder / "versions.json").write_text(json.dumps(versions, indent=1, sort_keys=True))
    full.unlink()
    return PackageStage(folder)


def ordered_modules(tree: Tree, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Kernel modules with all that they depend on, dependencies first. Raises ImageError for an unknown one."""
    paths = {_module_name(path): path for path in tree.names() if path.endswith(".ko")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        if name not in paths:
            raise ImageError(f"the kernel has no module {name!r}; correct the image recipe")
        content = tree.read(paths[name])
        for dependency in module_dependencies(content):
            add(_module_name(dependency))
        ordered[name] = content

    for name in wanted:
        add(name)
    return ordered


def parse_package_list(text: str) -> dict[str, str]:
    """Return names and versions from the file names of packages, such as `dash_0.5.12-2_amd64.deb`."""
    parts = (unquote(line).removesuffix(".deb").split("_") for line in text.split())
    return {name: version for name, version, _ in parts}


def debian_sources(suite: str, apt: Path = Path("/etc/apt")) -> str:
    """Return the host's own apt sources of this Debian suite (main), as deb822 stanzas.

    Sources of anybody else stay out. Empty when the host has none; mmdebstrap then knows where Debian is.
    """
    suites = {suite, f"{suite}-updates", f"{suite}-security"}
    found = []
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix == ".sources":
            found += [_stanza(fields, suites) for fields in _deb822(file.read_text())]
        elif file.suffix == ".list" and file.is_file():
            found += [_stanza(fields, suites) for fields in _one_line(file.read_text())]
    return "\n".join(stanza for stanza in found if stanza)


def _stanza(fields: dict[str, str], suites: set[str]) -> str:
    """Return a stanza cut to the wanted suites and to main, or nothing."""
    kept = [suite for suite in fields.get("suites", "").split() if suite in suites]
    if not kept or "deb" not in fields.get("types", "").split() or "main" not in fields.get("components", "").split():
        return ""
    signed = f"Signed-By: {fields['signed-by']}\n" if "signed-by" in fields else ""
    return f"Types: deb\nURIs: {fields.get('uris', '')}\nSuites: {' '.join(kept)}\nComponents: main\n{signed}"


def _deb822(text: str) -> list[dict[str, str]]:
    """Stanzas of a `.sources` file with lower-case field names (sources.list(5)); continuation lines are joined."""
    stanzas = []
    for block in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        joined = re.sub(r"\n[ \t]+", " ", block)
        pairs = (line.split(":", 1) for line in joined.splitlines() if ":" in line)
        stanzas.append({name.strip().lower(): value.strip() for name, value in pairs})
    return [stanza for stanza in stanzas if stanza.get("enabled", "yes") != "no"]


def _one_line(text: str) -> list[dict[str, str]]:
    """Return the lines `deb [options] uri suite component...` of a `.list` file."""
    lines = re.findall(r"(?m)^deb[ \t]+(?:\[([^\]]*)\][ \t]+)?(\S+)[ \t]+(\S+)[ \t]+(.+?)(?:#.*)?$", text)
    stanzas = []
    for options, uri, suite, components in lines:
        signed = re.search(r"signed-by=(\S+)", options)
        fields = {"types": "deb", "uris": uri, "suites": suite, "components": components}
        stanzas.append(fields | ({"signed-by": signed[1]} if signed else {}))
    return stanzas


def _mmdebstrap(recipe: Recipe, target: Path, folder: Path, log: Path) -> None:
    program = tools.need("mmdebstrap", "mmdebstrap")
    sources = folder / "debian.sources"
    sources.write_text(debian_sources(recipe.suite))
    listing = f'cd "$1/var/cache/apt/archives" && ls *.deb > "$1/{_PACKAGE_LIST}"'
    # Nothing is configured in the chroot, so there is no /bin/sh; BusyBox needs none.
    scripts = [shlex.quote((HERE / hook).read_text()) for hook in recipe.hooks]
    hooks = [f'{_PATH} chroot "$1" /bin/busybox sh -e -c {script}' for script in scripts]
    command = [
        program, "--variant=extract", "--format=tar", f"--include={','.join(recipe.packages)}",
        # The mount points of the chroot's /proc and /sys; base-files, which would bring them, is not needed.
        '--setup-hook=mkdir -p "$1/proc" "$1/sys" "$1/root" "$1/run"',
        *(f"--extract-hook={hook}" for hook in [listing, *hooks]),
        recipe.suite, str(target), *([str(sources)] if sources.stat().st_size else []),
    ]  # fmt: skip
    code = _run(["env", "LC_ALL=C.UTF-8", *command], folder, log)
    if code != 0:
        raise ImageError(f"{explain(log.read_text(errors='replace'), recipe.name)} (log: {log})")


def scratch(folder: Path) -> Path:
    """Where a guest is unpacked: by root in its own folder, by anybody else in $TMPDIR, which mmdebstrap may enter."""
    return folder if os.geteuid() == 0 else Path(tempfile.gettempdir())


def explain(log: str, name: str) -> str:
    """Return what the output of a failed mmdebstrap means, and what to do."""
    if any(sign in log for sign in _NETWORK_SIGNS):
        return (
            "the Debian packages cannot be downloaded: apt does not reach its mirror; check the network and try again"
        )
    if _NO_NAMESPACES in log:
        return (
            "this user may not build guests, which takes a range of user ids of one's own (subuid(5)): run `sudo "
            "usermod --add-subuids 300000-365535 --add-subgids 300000-365535 $USER`, or build them as root"
        )
    said = re.findall(r"(?m)^E: (.*)", log)
    return f"mmdebstrap could not make the guest {name!r}" + (f": {said[-1]}" if said else "")


def _run(command: list[str], folder: Path, log: Path) -> int | None:
    """Run mmdebstrap and return its exit code. Nothing is left of it however this ends, nor of the guest it unpacked.

    As anybody but root it is in namespaces of its own making, and clears away when it is asked to end. As root it is
    given some: else its mounts, and the daemons of Wine, which leave its process group, would outlive it.
    """
    root = os.geteuid() == 0
    own = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"] if root else []
    command = [*own, "env", f"TMPDIR={scratch(folder)}", *command]
    made = Child(command, log, tidies=not root)
    try:
        return made.wait(within(_PATIENCE))
    finally:
        made.kill() if root else made.terminate()
        made.wait(within(_TIDYING))


def _module_name(path: str) -> str:
    return Path(path).stem.replace("-", "_")
