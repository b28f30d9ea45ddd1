"""The virtual controller: bumble's, with what a recorder and its gateway need of a real one.

Added to bumble 0.0.236: scan responses with their own data, legacy advertising at the asked interval, signal strength,
links that take time and break (`air`), a connect that can be cancelled, a limit of links, and an HCI reset that ends
what was under way.
"""

import asyncio
from typing import TYPE_CHECKING

from bumble import controller as bumble_controller
from bumble import hci
from bumble.core import PhysicalTransport

from bota_gateway.sim.air import AirLink, LinkEnd
from bota_gateway.sim.quick_host import QuickHost

if TYPE_CHECKING:
    from bota_gateway.sim.virtual_radio import VirtualRadio

ACL_LENGTH = 251
"""Largest data packet of Bluetooth 4.2 and later; with bumble's default of 27 a notification costs ten packets."""

ADVERTISING_UNIT_S = 0.000_625
"""Unit of advertising intervals (Core Vol 4, E 7.8.5)."""

MAX_ADVERTISING_DELAY_S = 0.010
"""A random delay up to this joins each interval, so that advertisers do not stay in step (Core Vol 6, B 4.4.2.2)."""

SUPERVISION_UNIT_S = 0.010
"""Unit of supervision time-outs (Core Vol 4, E 7.8.12)."""

_ADVERTISING = hci.HCI_LE_Set_Advertising_Parameters_Command.AdvertisingType
_REPORT = hci.HCI_LE_Advertising_Report_Event


class Advertiser(bumble_controller.LegacyAdvertiser):
    """Legacy advertising, at the interval the host asked for."""

    controller: "VirtualController"

    def _on_timer_fired(self) -> None:
        self.controller.radio.advertise(self)
        if self.enabled:  # no central took the offer
            delay = self.controller.radio.random.uniform(0.0, MAX_ADVERTISING_DELAY_S)
            self.timer_handle = asyncio.get_running_loop().call_later(
                self.advertising_interval_min * ADVERTISING_UNIT_S + delay, self._on_timer_fired
            )

    @property
    def connectable(self) -> bool:
        """Whether a central may connect."""
        return self.advertising_type == _ADVERTISING.ADV_IND

    @property
    def scannable(self) -> bool:
        """Whether an active scanner gets a scan response."""
        return self.advertising_type in (_ADVERTISING.ADV_IND, _ADVERTISING.ADV_SCAN_IND)


class VirtualController(bumble_controller.Controller):
    """One station of a `VirtualRadio`.

    Args:
        name: How the radio's methods call this station.
        radio: The radio it is on.
        public_address: Its public address; None for none.
        max_links: Connections it can hold; a further one is refused with "connection limit exceeded".
    """

    acl_data_packet_length = ACL_LENGTH
    le_acl_data_packet_length = ACL_LENGTH
    supported_max_tx_octets = ACL_LENGTH
    supported_max_rx_octets = ACL_LENGTH
    # With the first of these, hosts use extended advertising, which has no scan response of the kind recorders use.
    # With either, Linux waits for the enhanced event that tells of a new link, which is not sent here: 4 s of doing
    # nothing else after each connect.
    le_features = bumble_controller.Controller.le_features & ~(
        hci.LeFeatureMask.LE_EXTENDED_ADVERTISING | hci.LeFeatureMask.LL_PRIVACY
    )

    le_legacy_advertiser: Advertiser
    pending_le_connection: hci.HCI_LE_Create_Connection_Command | None

    def __init__(
        self, name: str, radio: "VirtualRadio", *, public_address: str | None = None, max_links: int | None = None
    ) -> None:
        super().__init__(name, link=radio, public_address=public_address)
        self.radio = radio
        self.max_links = max_links
        self.le_legacy_advertiser = Advertiser(self)
        self._ends: dict[int, LinkEnd] = {}

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        """Sends to the host, without bumble's formatting for a log that is off: most of the cost of a report."""
        if self.host is not None:
            asyncio.get_running_loop().call_soon(self.host.on_packet, bytes(packet))

    # -- data ---------------------------------------------------------------------------------------------------------

    def on_hci_acl_data_packet(self, packet: hci.HCI_AclDataPacket) -> None:
        """Takes data from the host; data for a link that has just ended is dropped."""
        end = self._ends.get(packet.connection_handle)
        if end is not None:
            end.on_hci_acl_data_packet(packet)

    def deliver(self, handle: int, pdu: bytes) -> None:
        """Hands one L2CAP PDU to the host."""
        if isinstance(self.host, QuickHost):
            self.host.receive(handle, pdu)
            return
        for at in range(0, len(pdu), ACL_LENGTH):
            piece = pdu[at : at + ACL_LENGTH]
            self.send_hci_packet(hci.HCI_AclDataPacket(handle, 1 if at else 2, 0, len(piece), piece))

    def report_completed(self, handle: int, packets: int) -> None:
        """Tells the host that so many packets were sent, which lets it send more."""
        if isinstance(self.host, QuickHost):
            self.host.completed(handle, packets)
        else:
            self.send_hci_packet(
                hci.HCI_Number_Of_Completed_Packets_Event(connection_handles=[handle], num_completed_packets=[packets])
            )

    # -- links --------------------------------------------------------------------------------------------------------

    def add_end(self, role: hci.Role, self_address: hci.Address, peer_address: hci.Address) -> LinkEnd:
        """Makes this side of a new link."""
        end = LinkEnd(
            controller=self,
            handle=self.allocate_connection_handle(),
            role=role,
            self_address=self_address,
            peer_address=peer_address,
            link=self.radio,
            transport=PhysicalTransport.LE,
            link_type=hci.HCI_Connection_Complete_Event.LinkType.ACL,
        )
        self.le_connections[peer_address] = end
        self._ends[end.handle] = end
        return end

    def forget(self, end: LinkEnd) -> None:
        """Drops this side of a link that has ended."""
        self._ends.pop(end.handle, None)
        if self.le_connections.get(end.peer_address) is end:
            del self.le_connections[end.peer_address]

    def report_connected(self, end: LinkEnd, command: hci.HCI_LE_Create_Connection_Command) -> None:
        """Tells the host of a new link."""
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.SUCCESS,
                connection_handle=end.handle,
                role=end.role,
                peer_address_type=end.peer_address.address_type,
                peer_address=end.peer_address,
                connection_interval=command.connection_interval_min,
                peripheral_latency=command.max_latency,
                supervision_timeout=command.supervision_timeout,
                central_clock_accuracy=0,
            )
        )

    def report_disconnected(self, handle: int, reason: int) -> None:
        """Tells the host of a link's end."""
        self.send_hci_packet(
            hci.HCI_Disconnection_Complete_Event(
                status=hci.HCI_ErrorCode.SUCCESS, connection_handle=handle, reason=reason
            )
        )

    def connect_to(self, advertiser: Advertiser, command: hci.HCI_LE_Create_Connection_Command) -> None:
        """Turns this central's pending request and a peripheral's offer into a link."""
        self.pending_le_connection = None
        own_address = (
            self.public_address if command.own_address_type == hci.OwnAddressType.PUBLIC else self.random_address
        )
        peripheral = advertiser.controller
        advertiser.stop()
        far = peripheral.add_end(hci.Role.PERIPHERAL, advertiser.address, own_address)
        near = self.add_end(hci.Role.CENTRAL, own_address, advertiser.address)
        self.radio.open(AirLink(near, far, supervision_timeout_s=command.supervision_timeout * SUPERVISION_UNIT_S))
        peripheral.report_connected(far, command)
        self.report_connected(near, command)

    def on_hci_le_create_connection_command(self, command: hci.HCI_LE_Create_Connection_Command) -> None:
        """Waits for the peer's next advertisement."""
        if self.pending_le_connection is not None:
            status = hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR
        elif self.max_links is not None and len(self._ends) >= self.max_links:
            status = hci.HCI_ErrorCode.CONNECTION_LIMIT_EXCEEDED_ERROR
        elif command.peer_address in self.le_connections:
            status = hci.HCI_ErrorCode.CONNECTION_ALREADY_EXISTS_ERROR
        else:
            self.pending_le_connection = command
            status = hci.HCI_ErrorCode.SUCCESS
        self._send_hci_command_status(status, command.op_code)

    def on_hci_le_create_connection_cancel_command(
        self, _command: hci.HCI_LE_Create_Connection_Cancel_Command
    ) -> hci.HCI_StatusReturnParameters:
        """Ends the waiting; the host hears of it as a connection that failed (Core Vol 4, E 7.8.13)."""
        command = self.pending_le_connection
        if command is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        self.pending_le_connection = None
        self.send_hci_packet(
            hci.HCI_LE_Connection_Complete_Event(
                status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                connection_handle=0,
                role=hci.Role.CENTRAL,
                peer_address_type=command.peer_address_type,
                peer_address=command.peer_address,
                connection_interval=0,
                peripheral_latency=0,
                supervision_timeout=0,
                central_clock_accuracy=0,
            )
        )
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)

    def on_hci_disconnect_command(self, command: hci.HCI_Disconnect_Command) -> None:
        """Ends a link from this side."""
        end = self._ends.get(command.connection_handle)
        if end is None:
            self._send_hci_command_status(hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR, command.op_code)
            return
        self._send_hci_command_status(hci.HCI_ErrorCode.SUCCESS, command.op_code)
        end.air.terminate(end, command.reason)

    def on_hci_reset_command(self, command: hci.HCI_Reset_Command) -> hci.HCI_StatusReturnParameters:
        """Forgets everything; peers notice by their supervision time-outs."""
        self.vanish()
        return super().on_hci_reset_command(command)

    def vanish(self) -> None:
        """Stops at once, as with the battery taken out."""
        self.le_legacy_advertiser.stop()
        self.le_scan_enable = False
        self.pending_le_connection = None
        for end in list(self._ends.values()):
            end.air.abandon(end)

    def on_hci_read_rssi_command(self, command: hci.HCI_Read_RSSI_Command) -> hci.HCI_Read_RSSI_ReturnParameters:
        """Reports the signal strength of a link."""
        end = self._ends.get(command.handle)
        rssi = self.radio.rssi(self, end.other.controller) if end else None
        return hci.HCI_Read_RSSI_ReturnParameters(
            status=hci.HCI_ErrorCode.SUCCESS
            if rssi is not None
            else hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            handle=command.handle,
            rssi=rssi or 0,
        )

    # -- scanning -----------------------------------------------------------------------------------------------------

    def hear(self, advertiser: Advertiser, rssi: int) -> None:
        """An advertisement arrives: a central that waits for this peer connects, a scanner reports."""
        pending = self.pending_le_connection
        if pending is not None and advertiser.connectable and pending.peer_address == advertiser.address:
            self.connect_to(advertiser, pending)
        elif self.le_scan_enable:
            self._report(advertiser, rssi)

    def _report(self, advertiser: Advertiser, rssi: int) -> None:
        reports = [self._one_report(advertiser, advertiser.advertising_data, advertiser.advertising_type, rssi)]
        active = self.le_scan_type == hci.HCI_LE_Set_Scan_Parameters_Command.ACTIVE_SCANNING
        if active and advertiser.scannable:
            data = advertiser.scan_response_data
            reports.append(self._one_report(advertiser, data, _REPORT.EventType.SCAN_RSP, rssi))
        self.send_hci_packet(_REPORT(reports))

    @staticmethod
    def _one_report(advertiser: Advertiser, data: bytes, event_type: int, rssi: int) -> _REPORT.Report:
        # Advertising types and the event types of their reports share their numbers but for directed advertising.
        return _REPORT.Report(
            event_type=_REPORT.EventType(event_type),
            address_type=advertiser.address.address_type,
            address=advertiser.address,
            data=data,
            rssi=rssi,
        )
