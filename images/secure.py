"""What keeps the lab's files the lab's: hashes, and folders and keys that nobody else may change or read."""

import hashlib
import os
import stat
from pathlib import Path

from wsklab.images.errors import ImageError

_PIECE = 4 << 20
"""Bytes hashed at once: after each, the thread may have to wait until one that computes lets it go on."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest, piece = hashlib.sha256(), bytearray(_PIECE)
    with path.open("rb", buffering=0) as content:
        while size := content.readinto(piece):
            digest.update(memoryview(piece)[:size])
    return digest.hexdigest()


def require_own_folder(folder: Path) -> None:
    """Refuse a folder that somebody else owns or may write to. Raises ImageError."""
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise ImageError(
            f"{folder} belongs to user {status.st_uid} and not to you ({os.geteuid()}), so what is in it is not to be "
            "trusted; run the lab as that user, or set WSKLAB_CACHE to a folder of your own"
        )
    if status.st_mode & stat.S_IWOTH:
        raise ImageError(
            f"everybody may write to {folder}, so what is in it is not to be trusted; run `chmod o-w {folder}`, and "
            "`wsklab image verify` before the next run, or set WSKLAB_CACHE to a folder of your own"
        )


def require_private_key(key: Path) -> None:
    """Refuse a private key that others may read or replace. Raises ImageError; one that is missing is met elsewhere."""
    try:
        status = key.stat()
    except FileNotFoundError:
        return
    if status.st_uid != os.geteuid():
        raise ImageError(
            f"the key {key} belongs to user {status.st_uid} and not to you ({os.geteuid()}); run the lab as that user"
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ImageError(
            f"the key {key} is open to others ({stat.S_IMODE(status.st_mode):04o}); "
            f"run `chmod 600 {key}`, or make the image anew if somebody may have read it"
        )
