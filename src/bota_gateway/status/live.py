"""What the daemon is doing right now, as the rooms at work tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bota_gateway.errors import GatewayError
from bota_gateway.model import Custody


class LinkReport(Protocol):
    """What a link tells of itself; the sync room provides it."""

    address: str
    serial: str | None
    file_id: str | None
    received_bytes: int
    expected_bytes: int
    since: float

    @property
    def rate(self) -> float:
        """Bytes per second of the present transfer."""


class UploadReport(Protocol):
    """What an upload tells of itself; the upload room provides it."""

    serial: str
    file_id: str
    size_bytes: int
    step: Custody
    sent_bytes: int


class PauseReport(Protocol):
    """Why no calls go to the cloud now; the cloud room provides it."""

    @property
    def code(self) -> str:
        """As in docs/errors.md."""

    @property
    def detail(self) -> str:
        """In plain words."""

    @property
    def until(self) -> float:
        """Loop time of the next try."""


class DownReport(Protocol):
    """What is known of a part that is down; the daemon provides it."""

    @property
    def error(self) -> GatewayError:
        """Why."""

    @property
    def again_at(self) -> float:
        """Loop time of its next start."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A recorder that advertised lately."""

    rssi: int
    """Signal strength in dBm."""
    ago_s: float
    present: bool
    """Heard so lately that it is in range."""


class Live(Protocol):
    """What is under way right now, beside what stands in the spool; the daemon provides it."""

    @property
    def links(self) -> Sequence[LinkReport]:
        """Links held."""

    @property
    def uploads(self) -> Sequence[UploadReport]:
        """Uploads at work."""

    @property
    def pauses(self) -> Sequence[PauseReport]:
        """Reasons why the cloud is not asked."""

    @property
    def cloud_answered(self) -> bool:
        """Whether any answer of the cloud came since the start."""

    @property
    def heard(self) -> Mapping[str, Heard]:
        """Who advertised lately, by address."""

    @property
    def failing(self) -> Mapping[str, DownReport]:
        """Parts that are down, by their names."""
