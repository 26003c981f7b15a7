"""Writes cpio archives in the "newc" format, which is what Linux unpacks as its initial RAM disk (cpio(5))."""

import stat


class Archive:
    """An archive in the making. All belongs to root, with time stamp 0: equal content gives equal bytes."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._serial = 0

    def folder(self, name: str) -> None:
        """Add a folder; its parents must have been added before."""
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, name: str, major: int, minor: int) -> None:
        """Add a character device, readable and writable by root only."""
        self._entry(name, stat.S_IFCHR | 0o600, b"", device=(major, minor))

    def finish(self) -> bytes:
        """Return the whole archive. Nothing can be added afterwards."""
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._out)

    def _entry(self, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)) -> None:
        self._serial += 1
        path = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        numbers = (self._serial, mode, 0, 0, links, 0, len(content), 0, 0, *device, len(path), 0)
        self._out += b"070701" + b"".join(b"%08X" % number for number in numbers)
        self._append(path)
        self._append(content)

    def _append(self, data: bytes) -> None:
        self._out += data
        self._out += bytes(-len(self._out) % 4)
