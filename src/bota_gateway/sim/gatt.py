"""The GATT table of a recorder (docs/protocol.md, "GATT table"), built on bumble's server.

A `Cell` is one characteristic: what it reads, what a write does, whether it notifies. Cells without a function of
their own just keep the value written to them.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from bumble import att
from bumble.gatt import Characteristic, Service

from bota_gateway.protocol import uuids
from bota_gateway.sim.options import Group

Read = Callable[[], bytes]
Write = Callable[[bytes], Awaitable[None] | None]


class RefusedError(Exception):
    """A read or write that the recorder refuses, with its ATT error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"ATT error 0x{code:02x}")
        self.code = code


UNLIKELY_ERROR = 0x0E
"""ATT error that stacks send when firmware fails to give a value (Core Vol 3, F 3.4.1.1)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One characteristic of the table."""

    uuid: str
    read: Read | None = None
    write: Write | None = None
    notify: bool = False
    without_response: bool = False
    group: Group | None = None
    """None: present on every recorder."""


def of_service(service: str, number: int) -> str:
    """UUID of a Bota service's characteristic for which ``uuids`` has no name."""
    return f"{service[:9]}{number:04x}{service[13:]}"


def build(
    table: Iterable[tuple[str, list[Cell]]], absent: frozenset[Group], *, encrypted: bool
) -> tuple[list[Service], dict[str, Characteristic[bytes]]]:
    """Makes bumble's services of a table, less what is absent.

    Args:
        table: Service UUIDs with their cells.
        absent: Groups to leave out; a service without cells is left out, too.
        encrypted: Every cell then wants an encrypted link.

    Returns:
        The services, and their characteristics by UUID.
    """
    services = []
    by_uuid: dict[str, Characteristic[bytes]] = {}
    for service, cells in table:
        present = {cell.uuid: _characteristic(cell, encrypted) for cell in cells if cell.group not in absent}
        if present:
            services.append(Service(service, list(present.values())))
            by_uuid.update(present)
    return services, by_uuid


def _characteristic(cell: Cell, encrypted: bool) -> Characteristic[bytes]:
    properties = Characteristic.Properties(0)
    permissions = Characteristic.Permissions(0)
    if cell.read is not None:
        properties |= Characteristic.Properties.READ
        permissions |= Characteristic.READABLE
        if encrypted:
            permissions |= Characteristic.READ_REQUIRES_ENCRYPTION
    if cell.write is not None:
        properties |= Characteristic.Properties.WRITE
        permissions |= Characteristic.WRITEABLE
        if encrypted:
            permissions |= Characteristic.WRITE_REQUIRES_ENCRYPTION
    if cell.without_response:
        properties |= Characteristic.Properties.WRITE_WITHOUT_RESPONSE
    if cell.notify:
        properties |= Characteristic.Properties.NOTIFY
    value = att.AttributeValue(read=_reader(cell), write=_writer(cell))
    return Characteristic(cell.uuid, properties, permissions, value)


def _reader(cell: Cell) -> Callable[[object], bytes]:
    read = cell.read

    def answer(_connection: object) -> bytes:
        if read is None:
            raise att.ATT_Error(att.ATT_READ_NOT_PERMITTED_ERROR)
        try:
            return read()
        except RefusedError as error:
            raise att.ATT_Error(error.code) from error

    return answer


def _writer(cell: Cell) -> Callable[[object, bytes], Awaitable[None]]:
    write = cell.write

    async def take(_connection: object, value: bytes) -> None:
        if write is None:
            raise att.ATT_Error(att.ATT_WRITE_NOT_PERMITTED_ERROR)
        try:
            done = write(value)
            if done is not None:
                await done
        except RefusedError as error:
            raise att.ATT_Error(error.code) from error

    return take


def protect(attributes: Iterable[att.Attribute[Any]]) -> None:
    """Lets writes be refused that go to what nobody may write, such as a declaration; bumble takes them.

    A hub that remembers the handles of earlier firmware writes to such places.
    """

    async def refuse(bearer: att.Bearer, value: bytes) -> None:  # noqa: ARG001 - named as in what it replaces
        raise att.ATT_Error(att.ATT_WRITE_NOT_PERMITTED_ERROR)

    for attribute in attributes:
        if isinstance(attribute.value, bytes) and not attribute.permissions & att.Attribute.WRITEABLE:
            # Its value has to stay bytes: the database's hash is made of them.
            attribute.write_value = refuse  # type: ignore[method-assign]  # bumble has no other way


def kept_cells(values: dict[str, bytes]) -> list[tuple[str, list[Cell]]]:
    """The services that transfers do not need: their characteristics just keep what is written to them."""

    def kept(uuid: str, group: Group, how: str) -> Cell:
        def write(value: bytes) -> None:
            values[uuid] = value

        return Cell(
            uuid,
            read=(lambda: values.get(uuid, b"")) if "r" in how else None,
            write=write if "w" in how else None,
            notify="n" in how,
            group=group,
        )

    def cells(service: str, group: Group, hows: str) -> tuple[str, list[Cell]]:
        """``hows`` has one word for each characteristic from 0001 on: letters of r, w, n, or a dash for none."""
        words = enumerate(hows.split(), start=1)
        return service, [kept(of_service(service, at), group, how) for at, how in words if how != "-"]

    return [
        cells(uuids.AUDIO_SERVICE, Group.AUDIO, "rn r w"),
        cells(uuids.PROVISIONING_SERVICE, Group.PROVISIONING, "r w w - n rw"),
        cells(uuids.AUTH_SERVICE, Group.AUTH, "r rn w w"),
        cells(uuids.WIFI_SERVICE, Group.WIFI, "w w rn wn"),
        cells(uuids.DIAGNOSTICS_SERVICE, Group.DIAGNOSTICS, "w n"),
    ]
