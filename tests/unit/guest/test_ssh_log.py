"""What is said of an SSH connection that breaks: one sentence, and nothing of the library's own log."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.ssh import Ssh


def test_a_broken_connection_prints_no_traceback_of_the_library() -> None:
    code = (
        "import logging, wsklab.orchestrator.guest.ssh as ssh; ssh.load(); "
        "logging.getLogger('paramiko.transport').error('Exception (client): no banner')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_server_that_is_too_slow_with_its_keys_is_named(tmp_path: Path) -> None:
    """A busy host once ended a run with "No existing session", which tells nobody what was waited for."""
    key = ed25519.Ed25519PrivateKey.generate()
    file = tmp_path / "key"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = base64.b64encode(paramiko.Ed25519Key.from_private_key_file(str(file)).asbytes()).decode()
    hosts = tmp_path / "known_hosts"
    hosts.write_text(f"guest ssh-ed25519 {public}\n", encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.sendall(b"SSH-2.0-slow\r\n")
                while client.recv(4096):
                    pass

        greeter = threading.Thread(target=greet, daemon=True)
        greeter.start()
        with pytest.raises(LabError, match=r"SSH to the peer failed: keys were not exchanged within 0\.5 s"):
            Ssh("peer", server.getsockname()[1], file, hosts, patience=0.5)
        greeter.join(10)
    assert not greeter.is_alive(), "the connection was left open"
