"""A network of a test's own, in which anybody may do what else only root may (TCP_REPAIR, filters, kernel settings).

Run as a program, it brings the loopback interface up and becomes the command behind it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)


def in_own_network(*command: str | Path) -> list[str | Path]:
    """Return the command as it is for root; for anybody else in a user and network namespace (unshare(1))."""
    if os.geteuid() == 0:
        return list(command)
    return ["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__, *command]


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    os.execv(sys.argv[1], sys.argv[1:])
