"""bumble's host with a short way for data, for devices on the virtual radio."""

import struct
from typing import cast

from bumble import att, hci
from bumble.controller import Controller
from bumble.device import Device
from bumble.host import Host

_HEADER = struct.Struct("<HH")
_NOTIFICATION = att.Opcode.ATT_HANDLE_VALUE_NOTIFICATION.value


class QuickHost(Host):
    """Carries data without the detour over HCI bytes: 80,000 notifications must not cost a minute of CPU.

    bumble encodes, formats for its log and decodes each packet several times, about 130 µs for each notification;
    this way costs less than a tenth. Commands and events take bumble's own way. Use it with a `VirtualController` only.
    """

    device: Device | None = None
    """The device above this host; whoever creates both sets it."""

    def send_l2cap_pdu(self, connection_handle: int, cid: int, pdu: bytes) -> None:
        """Queues one L2CAP PDU; the queue passes it on as the controller completes earlier ones."""
        connection = self.connections.get(connection_handle)
        if connection is None:
            return
        queue = connection.acl_packet_queue
        data = _HEADER.pack(len(pdu), cid) + pdu
        size = queue.max_packet_size
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            packet = hci.HCI_AclDataPacket(connection_handle, 1 if at else 0, 0, len(piece), piece)
            queue.enqueue(packet, connection_handle)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Hands data packets to the controller as they are."""
        if isinstance(packet, hci.HCI_AclDataPacket):
            cast("Controller", self.hci_sink).on_hci_acl_data_packet(packet)
        else:
            super().send_hci_packet(packet)

    def on_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Takes an event, without formatting it for a log that is off."""
        if isinstance(packet, hci.HCI_Event):
            self.on_hci_event_packet(packet)
        else:
            super().on_hci_packet(packet)

    def receive(self, connection_handle: int, pdu: bytes) -> None:
        """Takes one whole L2CAP PDU from the controller."""
        connection = self.connections.get(connection_handle)
        if connection is None:
            return
        _, cid = _HEADER.unpack_from(pdu)
        if cid == att.ATT_CID and len(pdu) >= 7 and pdu[4] == _NOTIFICATION and self.device is not None:
            self._notify(self.device, connection_handle, int.from_bytes(pdu[5:7], "little"), pdu[7:])
        else:
            self.on_l2cap_pdu(connection, cid, pdu[4:])

    def completed(self, connection_handle: int, packets: int) -> None:
        """Takes the controller's word that so many packets were sent."""
        connection = self.connections.get(connection_handle)
        if connection is not None:
            connection.acl_packet_queue.on_packets_completed(packets, connection_handle)

    @staticmethod
    def _notify(device: Device, connection_handle: int, attribute_handle: int, value: bytes) -> None:
        """Does what bumble's GATT client does with a notification, less its cache of values."""
        connection = device.lookup_connection(connection_handle)
        if connection is None:
            return
        subscribers = connection.gatt_client.notification_subscribers.get(attribute_handle, ())
        for subscriber in tuple(subscribers):
            if callable(subscriber):
                subscriber(value)
            else:
                subscriber.emit(subscriber.EVENT_UPDATE, value)
