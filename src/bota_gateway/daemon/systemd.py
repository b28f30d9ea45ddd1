"""The service manager's side: readiness, a status line, the watchdog. Silent where there is no systemd.

The protocol is ``sd_notify(3)``: one datagram per message to the socket named by ``NOTIFY_SOCKET``.
"""

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Sends notifications to systemd, or nowhere."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        """Time within which systemd wants a sign of life; 0 when it wants none."""

    def ready(self) -> None:
        """Say that start-up is done."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the stop was heard and is under way."""
        self._send("STOPPING=1")

    def status(self, line: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send("STATUS=" + line.replace("\n", " "))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.setblocking(False)  # its queue may be full, and nobody be left to empty it
            try:
                manager.sendto(message.encode(), self._address)
            except OSError:
                # A service manager that is gone or stuck must not take the gateway with it.
                return
