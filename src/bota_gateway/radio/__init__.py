"""Finds recorders and holds links to them, on bleak. The only room that imports bleak.

`Radio` scans and connects; a `Link` reads, writes and subscribes; every wait on it ends. ``const.py`` holds the
numbers, ``classify.py`` what errors mean. ``bumble_backend`` (extra ``sim``) replaces BlueZ, for who imports it.
"""

from bota_gateway.radio.adapters import Adapter, discover_adapters
from bota_gateway.radio.classify import backoff_of
from bota_gateway.radio.const import PRESENT_S
from bota_gateway.radio.link import Link
from bota_gateway.radio.notifications import NotificationStream
from bota_gateway.radio.opening import open_adapters
from bota_gateway.radio.radio import Radio
from bota_gateway.radio.scanner import ScanTrouble
from bota_gateway.radio.sightings import Sighting
from bota_gateway.radio.station import AdapterState
from bota_gateway.radio.tally import Tally

__all__ = [
    "PRESENT_S",
    "Adapter",
    "AdapterState",
    "Link",
    "NotificationStream",
    "Radio",
    "ScanTrouble",
    "Sighting",
    "Tally",
    "backoff_of",
    "discover_adapters",
    "open_adapters",
]
