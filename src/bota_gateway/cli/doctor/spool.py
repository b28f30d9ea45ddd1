"""The spool. While a gateway runs it alone has the database open, so it is asked; never is the file opened then."""

from collections.abc import AsyncGenerator
from typing import Any, Final

from bota_gateway.cli.doctor.cases import Check, Finding, failure, not_checked, ok, warning
from bota_gateway.cli.doctor.facts import Facts, in_thread
from bota_gateway.errors import SpoolError, SpoolLockedError, StatusError
from bota_gateway.spool.fsck import examine

_PARTS: Final = ("spool", "disk")
"""Parts of the status that speak of it."""


class Spool(Check):
    """Whether the spool is whole: its database without the audio, or what the running gateway says of it."""

    group = "Spool"
    name = "spool"
    limit_s = 60.0
    SERVES = ok("whole when the gateway opened it; {used:size} of {quota:size} used")
    WHOLE = ok("whole; {recordings} recordings, {only_here} not in the cloud yet; audio not read")
    NEW = ok("not there yet: the first start makes it")
    TROUBLE = failure("{message} [{code}]", "{remedy}")
    DAMAGED = failure("{count} faults, the first: {what} [{code}]", "{remedy} All of them: sudo bota-gateway fsck")
    NOTE = warning("{note}", "See what only it has: bota-gateway fsck, with its directory.")
    IN_USE = not_checked("{message} That one does not answer on {socket}", "Name its socket: --socket, or --config.")
    CLOSED = not_checked("{message}", "{remedy}")

    async def look(self, facts: Facts) -> AsyncGenerator[Finding, None]:
        """Ask the gateway, or have a quick look if there is none."""
        told = await facts.status()
        if not isinstance(told, StatusError):
            for finding in self._of_gateway(told):
                yield finding
        elif told.error_code != "status_no_daemon":
            yield self.CLOSED.of(told)
        else:
            for finding in await self._of_file(facts):
                yield finding

    def _of_gateway(self, told: dict[str, Any]) -> list[Finding]:
        troubles = [self.TROUBLE(**problem) for problem in told["problems"] if problem["part"] in _PARTS]
        return troubles or [self.SERVES(used=told["spool"]["used_bytes"], quota=told["spool"]["quota_bytes"])]

    async def _of_file(self, facts: Facts) -> list[Finding]:
        directory = facts.usable.spool.directory
        try:
            seen = await in_thread(lambda: examine(directory, with_audio=False))
        except SpoolLockedError as error:
            return [self.IN_USE(message=error.message, socket=facts.socket)]
        except SpoolError as error:
            if error.error_code == "spool_not_there":
                return [self.NEW()]
            return [(self.CLOSED if error.error_code == "spool_unreadable" else self.TROUBLE).of(error)]
        found = [self.NOTE(note=note) for note in seen.notes]
        if seen.whole:
            return [self.WHOLE(recordings=seen.recordings, only_here=seen.only_here), *found]
        first = seen.faults[0]
        return [self.DAMAGED(count=len(seen.faults), what=first.what, code=first.code, remedy=first.remedy), *found]
