"""Picks from an unpacked distribution the few files that a guest runs on."""

import fnmatch
import posixpath
import re
import tarfile
from collections.abc import Iterable

from wsklab.images.elf import needed_libraries
from wsklab.images.errors import ImageError

_LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")


class Tree:
    """The files of a tar archive by their path, relative and without a leading `./`."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {posixpath.normpath(member.name): member for member in archive}

    def names(self) -> Iterable[str]:
        """Every path in the archive."""
        return self._members.keys()

    def read(self, path: str) -> bytes:
        """Content of a regular file (links are followed). Raises ImageError when there is none."""
        member = self._members.get(path)
        if member is not None and (member.issym() or member.islnk()):
            return self.read(_target(member, path))
        stream = self._archive.extractfile(member) if member is not None else None
        if stream is None:
            raise ImageError(f"the packages have no file /{path}; correct the image recipe")
        return stream.read()

    def match(self, patterns: Iterable[str]) -> list[str]:
        """Return the paths of everything but folders that a glob matches (`*` crosses folders).

        Raises ImageError for a pattern that matches nothing.
        """
        found: list[str] = []
        for pattern in patterns:
            glob = re.compile(fnmatch.translate(pattern))
            hits = [path for path, member in self._members.items() if glob.match(path) and not member.isdir()]
            if not hits:
                raise ImageError(f"nothing in the packages matches {pattern!r}; correct the image recipe")
            found += hits
        return found

    def closure(self, paths: Iterable[str]) -> list[str]:
        """Return the paths, what their links lead to, and the shared libraries that they need; sorted."""
        todo, done = list(paths), set[str]()
        while todo:
            path = todo.pop()
            if path in done or path not in self._members:
                continue
            done.add(path)
            member = self._members[path]
            if member.issym() or member.islnk():
                todo.append(_target(member, path))
            elif member.isfile():
                folders = (posixpath.dirname(path), *_LIBRARY_FOLDERS)
                for library in needed_libraries(self.read(path)):
                    todo += [posixpath.join(folder, library) for folder in folders]
        return sorted(done)

    def copy(self, paths: Iterable[str], to: tarfile.TarFile) -> None:
        """Add files to another archive, owned by root."""
        for path in paths:
            member = self._members[path]
            member.name, member.uid, member.gid, member.uname, member.gname = path, 0, 0, "root", "root"
            to.addfile(member, self._archive.extractfile(member) if member.isfile() else None)


def _target(member: tarfile.TarInfo, path: str) -> str:
    """Where a link leads, as a path of the tree."""
    base = "" if member.islnk() else posixpath.dirname(path)
    return posixpath.normpath(posixpath.join("/", base, member.linkname)).lstrip("/")
