"""What Prometheus scrapes. Names follow its conventions: base units, ``_total`` for what only rises.

Counters begin anew with each life of the process, as scrapers expect; the spool's own figures are gauges.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from bota_gateway.model import FORGOTTEN_BY_HAND, Custody, RecorderRecord, WallClock
from bota_gateway.spool import Spool, SpoolUsage
from bota_gateway.status.live import Live
from bota_gateway.status.story import Story
from bota_gateway.status.words import passed

METRICS_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
HEALTH: Final = ("ok", "waiting", "paused", "attention", "failing")
"""The words of ``status``, the best first."""
BYTES: Final = {
    "received_bytes": ("recording_captured", "Bytes of recordings captured since the start."),
    "uploaded_bytes": ("upload_sent", "Bytes of recordings sent to S3 since the start."),
}
"""Counters that add up the ``bytes`` of an event."""


class _Ready(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        yield from self._families


class Metrics:
    """Figures of the spool, of what is under way, and of what happened."""

    def __init__(self, spool: Spool, now: WallClock, live: Live, story: Story) -> None:
        self._spool = spool
        self._now = now
        self._live = live
        self._story = story

    async def text(self, health: str) -> bytes:
        """All of them in the text format of Prometheus.

        Args:
            health: The word of ``status``.
        """
        usage = await self._spool.usage()
        recorders = await self._spool.recorders()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(
            _Ready([*_health(health), *self._custody(usage), *self._under_way(), *self._met(recorders), *self._told()])
        )
        ProcessCollector(registry=registry)
        return generate_latest(registry)

    def _custody(self, usage: SpoolUsage) -> Iterator[Metric]:
        states = GaugeMetricFamily(
            "bota_gateway_recordings", "Recordings by the state of their custody.", labels=["state"]
        )
        for state in Custody:
            states.add_metric([state.value], usage.counts.get(state, 0))
        states.add_metric([FORGOTTEN_BY_HAND], usage.forgotten_by_hand)
        yield states
        oldest = passed(usage.oldest_waiting_at, self._now()) or 0.0
        yield _gauge("oldest_waiting_seconds", "Age of the oldest recording that is not done; 0 without one.", oldest)
        yield _gauge("spool_used_bytes", "Bytes that the spool uses of its quota.", usage.used_bytes)
        yield _gauge("spool_quota_bytes", "The spool's quota.", usage.quota_bytes)
        yield _gauge("spool_disk_free_bytes", "Free bytes on the disk that holds the spool.", usage.disk_free_bytes)
        yield _gauge("spool_healthy", "1 while the disk keeps what is written.", usage.health.healthy)

    def _under_way(self) -> Iterator[Metric]:
        yield _gauge("links", "Links to recorders that are up.", len(self._live.links))
        yield _gauge("uploads", "Uploads under way.", len(self._live.uploads))
        paused = GaugeMetricFamily("bota_gateway_paused", "1 for a part that a person has paused.", labels=["part"])
        for part in self._live.paused:
            paused.add_metric([part], 1)
        yield paused
        parts = GaugeMetricFamily("bota_gateway_part_down", "1 for a part or adapter that is down.", labels=["part"])
        for part in self._live.failing:
            parts.add_metric([part], 1)
        yield parts
        pauses = GaugeMetricFamily(
            "bota_gateway_cloud_rests", "1 for each reason why the cloud is not asked now.", labels=["code"]
        )
        for code in {pause.code for pause in self._live.pauses}:
            pauses.add_metric([code], 1)
        yield pauses

    def _met(self, recorders: Iterable[RecorderRecord]) -> Iterator[Metric]:
        known = [one for one in recorders if one.binding.device_id is not None]
        per_recorder: dict[str, tuple[str, Any]] = {
            "battery_ratio": ("Charge of the battery, 0 to 1.", lambda one: _ratio(one.battery_percent)),
            "rssi_dbm": ("Signal strength at the last visit.", lambda one: one.rssi),
            "pending_recordings": ("Recordings that it says it still holds.", lambda one: one.pending),
            "last_visit_timestamp_seconds": ("When it was last visited.", lambda one: one.last_visit_at),
            "failed_visits": ("Failed visits in a row.", lambda one: one.attempts),
        }
        for name, (means, value) in per_recorder.items():
            family = GaugeMetricFamily(f"bota_gateway_recorder_{name}", means, labels=["recorder"])
            for one in known:
                if (found := value(one)) is not None:
                    family.add_metric([one.serial], found)
            yield family

    def _told(self) -> Iterator[Metric]:
        happenings = CounterMetricFamily(
            "bota_gateway_happenings", "Log lines since the start, by event.", labels=["event", "level"]
        )
        for (event, level), count in sorted(self._story.counts.items()):
            happenings.add_metric([event, level], count)
        yield happenings
        for name, (event, means) in BYTES.items():
            yield CounterMetricFamily(f"bota_gateway_{name}", means, value=self._story.bytes[event])


def _health(health: str) -> Iterator[Metric]:
    family = GaugeMetricFamily("bota_gateway_health", "1 for the word that status says.", labels=["health"])
    for word in HEALTH:
        family.add_metric([word], word == health)
    yield family
    yield InfoMetricFamily("bota_gateway_build", "The program.", value={"version": version("bota-gateway")})


def _gauge(name: str, means: str, value: float) -> Metric:
    return GaugeMetricFamily(f"bota_gateway_{name}", means, value=value)


def _ratio(percent: int | None) -> float | None:
    return None if percent is None else percent / 100
