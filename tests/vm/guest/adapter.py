"""Runs in the guest: makes a Bluetooth adapter whose controller is on the host, at the other end of a virtio port.

Usage: ``adapter.py NAME``; the port is ``/dev/virtio-ports/NAME``. The adapter is there as long as this runs.
"""

import os
import select
import sys
import time

VENDOR_PACKET = b"\xff\x00"
"""Asks hci_vhci for a controller of the usual kind (BR/EDR and LE)."""
EVENT, ACL = 0x04, 0x02
HEADERS = {EVENT: (3, 2, 1), ACL: (5, 3, 2)}
"""Of the packets that a controller sends: length of the header, and where in it the body's length stands, in bytes."""


QUIET_MS = 300
"""A controller that was not spoken to yet says nothing."""


def packets(data: bytearray) -> "list[bytes]":
    """Take the whole packets off the front of ``data``."""
    found = []
    while data and len(data) >= HEADERS[data[0]][0]:
        header, at, width = HEADERS[data[0]]
        size = header + int.from_bytes(data[at : at + width], "little")
        if len(data) < size:
            break
        found.append(bytes(data[:size]))
        del data[:size]
    return found


def main() -> None:
    """Carry packets both ways until killed."""
    path = f"/dev/virtio-ports/{sys.argv[1]}"
    while not os.path.exists(path):  # noqa: PTH110 - pathlib costs a tenth of a second here
        time.sleep(0.1)
    port = os.open(path, os.O_RDWR)
    poll = select.poll()
    poll.register(port, select.POLLIN)
    while poll.poll(QUIET_MS):  # what was on its way to an adapter before this one, perhaps cut in the middle
        os.read(port, 65536)
    vhci = os.open("/dev/vhci", os.O_RDWR)
    os.write(vhci, VENDOR_PACKET)
    os.read(vhci, 16)  # its answer: the adapter's number
    received = bytearray()
    poll.register(vhci, select.POLLIN)
    while True:
        for file, _ in poll.poll():
            if file == vhci:
                os.write(port, os.read(vhci, 4096))
                continue
            received += os.read(port, 65536)
            for packet in packets(received):
                try:
                    os.write(vhci, packet)
                except OSError:
                    continue  # the kernel takes none while the adapter is off


main()
