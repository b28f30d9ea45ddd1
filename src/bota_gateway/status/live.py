"""What the daemon is doing right now, as the rooms at work tell it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bota_gateway.errors import GatewayError
from bota_gateway.model import Custody, RecorderRecord


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


class UnmetReport(Protocol):
    """A recorder in range that no visit has identified; the sync room provides it."""

    @property
    def address(self) -> str:
        """Where it advertises."""

    @property
    def rssi(self) -> int:
        """Signal strength in dBm."""

    @property
    def heard_ago_s(self) -> float:
        """Seconds since it was heard."""

    @property
    def failures(self) -> int:
        """Visits that failed before it told its serial."""

    @property
    def error(self) -> GatewayError | None:
        """How the last one failed."""

    @property
    def again_at(self) -> float:
        """Loop time of the next one."""


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


class AllowanceReport(Protocol):
    """How much of what may be asked of the cloud is spent; the cloud room provides it."""

    @property
    def name(self) -> str:
        """``requests`` or ``upload_urls``."""

    @property
    def per_minute(self) -> float:
        """What this hub keeps to now."""

    @property
    def spent_in_minute(self) -> int:
        """Calls of the last 60 seconds."""

    @property
    def at_once(self) -> int:
        """Calls that may go this moment."""


class DownReport(Protocol):
    """What is known of a part that is down; the daemon provides it."""

    @property
    def error(self) -> GatewayError:
        """Why."""

    @property
    def again_at(self) -> float:
        """Loop time of its next start."""


class AdapterReport(Protocol):
    """An adapter in use; the radio room provides it."""

    @property
    def name(self) -> str:
        """``hciN``, as it is called now."""

    @property
    def address(self) -> str | None:
        """Its own, which stays."""

    @property
    def there(self) -> bool:
        """Whether it is plugged in."""

    @property
    def scanning(self) -> bool:
        """Whether it scans and hears as it should."""

    @property
    def heard_ago_s(self) -> float | None:
        """Since anybody was heard; None for never."""

    @property
    def links(self) -> int:
        """Up, being made or waited for."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A recorder that advertised lately."""

    rssi: int
    """Signal strength in dBm."""
    ago_s: float
    present: bool
    """Heard so lately that it is in range."""


class Pauses(Protocol):
    """Lets parts rest; the daemon provides it."""

    async def pause(self, part: str) -> None:
        """Let a part rest."""

    async def resume(self, part: str) -> None:
        """Let it work again."""


class Live(Protocol):
    """What is under way right now, beside what stands in the spool; the daemon provides it."""

    @property
    def links(self) -> Sequence[LinkReport]:
        """Links held."""

    @property
    def unmet(self) -> Sequence[UnmetReport]:
        """Recorders in range that have not told their serial yet."""

    @property
    def uploads(self) -> Sequence[UploadReport]:
        """Uploads at work."""

    def is_uploading(self, recording_id: int) -> bool:
        """Whether an upload has this recording in hand."""

    @property
    def pauses(self) -> Sequence[PauseReport]:
        """Reasons why the cloud is not asked."""

    @property
    def budget(self) -> Sequence[AllowanceReport]:
        """How much of what may be asked of the cloud is spent; empty before the cloud part is up."""

    def asks_in(self, recorder: RecorderRecord) -> float | None:
        """Seconds until the cloud is asked whose it is; None where that takes a visit first."""

    @property
    def cloud_answered(self) -> bool:
        """Whether any answer of the cloud came since the start."""

    @property
    def clock_is_trusted(self) -> bool:
        """Whether this hub's clock is synchronised."""

    @property
    def paused(self) -> Mapping[str, float]:
        """Parts that a person has paused, each with the Unix time of it."""

    @property
    def heard(self) -> Mapping[str, Heard]:
        """Who advertised lately, by address."""

    @property
    def adapters(self) -> Sequence[AdapterReport]:
        """Adapters in use."""

    @property
    def radio_counts(self) -> Mapping[tuple[str, str], int]:
        """What the radio went through in all lives of this hub, by adapter and name."""

    @property
    def failing(self) -> Mapping[str, DownReport]:
        """Parts that are down, by their names."""


def unmet(live: Live, met: Iterable[RecorderRecord]) -> list[UnmetReport]:
    """Recorders in range that are none of those met; the round of visits may learn a moment later who was."""
    known = {one.address for one in met}
    return [one for one in live.unmet if one.address not in known]
