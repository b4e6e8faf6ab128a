"""A ProxyCommand as a socket: what ssh_config(5) describes, with a real end of stream."""

from __future__ import annotations

import socket
import subprocess
import threading


def start(command: str) -> socket.socket:
    """Run a shell command whose stdin and stdout lead to a server; it ends when the socket is closed.

    paramiko's own ProxyCommand spins on a command that has ended, and never sees its end.

    Raises:
        OSError: there is no shell.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,  # Ctrl-C is for us: what hangs up is the end of its stdin
            )
    except OSError:
        ours.close()
        raise
    threading.Thread(target=process.wait, daemon=True).start()  # collects its status whenever it ends
    return ours
