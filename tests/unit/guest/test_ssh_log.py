"""What the SSH library logs of a connection that broke is no output of ours."""

from __future__ import annotations

import subprocess
import sys


def test_a_broken_connection_prints_no_traceback_of_the_library() -> None:
    code = (
        "import logging, wsklab.orchestrator.guest.ssh as ssh; ssh.load(); "
        "logging.getLogger('paramiko.transport').error('Exception (client): no banner')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
