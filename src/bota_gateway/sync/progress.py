"""What the links are doing right now, for status and progress lines: a read model, written by the visits."""

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class LinkProgress:
    """One link and the transfer on it, if any. All times are the event loop's."""

    address: str
    adapter: str
    since: float
    """When the visit began."""
    serial: str | None = None
    """None until the recorder was identified."""
    file_id: str | None = None
    """The recording that is being transferred; None between transfers."""
    received_bytes: int = 0
    expected_bytes: int = 0
    """From the list, in whole KiB: a hint, the wire rounds and saturates it."""
    transfer_since: float | None = field(default=None)
    ends: list[int] = field(default_factory=list)
    """The lines of timelines that transfers over this link ended with, for what becomes known of them later."""

    @property
    def rate(self) -> float:
        """Bytes per second of the present transfer; 0.0 between transfers."""
        if self.transfer_since is None:
            return 0.0
        return self.received_bytes / max(asyncio.get_running_loop().time() - self.transfer_since, 1e-3)

    def transfer_started(self, file_id: str, expected_bytes: int) -> None:
        """A START was written."""
        self.file_id = file_id
        self.received_bytes = 0
        self.expected_bytes = expected_bytes
        self.transfer_since = asyncio.get_running_loop().time()

    def transfer_ended(self) -> None:
        """The transfer is over, well or not."""
        self.file_id = None
        self.transfer_since = None
