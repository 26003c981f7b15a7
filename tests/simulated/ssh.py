"""OpenSSH of the played target: one key may log in, `exec` runs a program, SFTP writes files (paramiko's server)."""

from __future__ import annotations

import base64
import io
import socket
import threading

import paramiko

from simulated.windows import Windows


class _Server(paramiko.ServerInterface):
    def __init__(self, windows: Windows, key: paramiko.PKey) -> None:
        self._windows, self._key = windows, key

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "wsklab" and key == self._key
        return paramiko.common.AUTH_SUCCESSFUL if known else paramiko.common.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        def run() -> None:
            status, text = self._windows.program(command.decode())
            channel.sendall(text.encode())
            channel.send_exit_status(status)
            channel.close()

        channel.run = run  # type: ignore[attr-defined]  # a note to `_request`
        return True


def _request(channel: paramiko.Channel, message: paramiko.Message) -> None:
    """Run a program after its request was granted, not before the client has heard so."""
    paramiko.Channel._handle_request(channel, message)  # type: ignore[attr-defined]  # private
    if run := channel.__dict__.pop("run", None):
        threading.Thread(target=run, daemon=True).start()


class _Transport(paramiko.Transport):
    _channel_handler_table = paramiko.Transport._channel_handler_table | {  # type: ignore[attr-defined]  # private
        paramiko.common.MSG_CHANNEL_REQUEST: _request
    }


class _File(paramiko.SFTPHandle):
    def __init__(self, windows: Windows, path: str) -> None:
        super().__init__()
        self._windows, self._path = windows, path
        self.writefile = io.BytesIO()

    def stat(self) -> paramiko.SFTPAttributes:
        attributes = paramiko.SFTPAttributes()
        attributes.st_size = len(self.writefile.getvalue())
        return attributes

    def close(self) -> None:
        self._windows.state["files"][self._path] = base64.b64encode(self.writefile.getvalue()).decode()
        super().close()


class _Sftp(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, windows: Windows) -> None:
        super().__init__(server)
        self._windows = windows

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle:
        """As OpenSSH for Windows names drives: /C:/folder/file."""
        return _File(self._windows, path.lstrip("/").replace("/", "\\").lower())

    def stat(self, path: str) -> int:
        return paramiko.sftp.SFTP_NO_SUCH_FILE


def serve(windows: Windows, host_key: paramiko.PKey, login: paramiko.PKey) -> int:
    """Listen on a port of the kernel's choice, from now on; a connection without sshd running is hung up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            line, _ = listener.accept()
            if windows.state["services"]["sshd"]["state"] != "running":
                line.close()
                continue
            transport = _Transport(line)
            transport.add_server_key(host_key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Sftp, windows)
            try:
                transport.start_server(server=_Server(windows, login))
            except (paramiko.SSHException, EOFError):
                continue

    threading.Thread(target=accept, daemon=True).start()
    port: int = listener.getsockname()[1]
    return port
