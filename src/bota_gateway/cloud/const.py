"""Numbers of the cloud side, each once, with its reason. Sources: docs/cloud-api.md, by section title."""

from typing import Final

from bota_gateway.backoff import Backoff

CONNECT_S: Final = 20.0
"""TCP and TLS set-up. A Raspberry Pi on LTE needs seconds for TLS; beyond this the network is the problem."""

CALL_S: Final = 60.0
"""A whole API call. Its bodies are small: an answer that trickles longer than this is as good as none."""

STALL_S: Final = 60.0
"""Longest wait for one piece of a PUT (1 MiB) to be taken: twice what the slowest uplink below needs for it."""

PUT_BASE_S: Final = 120.0
"""Time every PUT gets, whatever its size: the vendor's own samples allow this for 25 MiB ("The PUT")."""

PUT_SLOWEST_BYTES_PER_S: Final = 32 * 1024
"""Uplink below which a PUT is given up: GSM-class; slower ones never outrun what recorders produce."""

MAX_ANSWER_BYTES: Final = 4 << 20
"""Largest API answer that is read. A hundred device objects with settings and metadata stay well below 1 MiB."""

MAX_S3_ANSWER_BYTES: Final = 16 << 10
"""Largest S3 answer that is read; its error documents are under 1 KiB."""

PAGE_SIZE: Final = 100
"""The published maximum of every generation ("Lists")."""

MAX_PAGES: Final = 1000
"""Longest walk: 100,000 rows. More means that the list does not end."""

MAX_CURSOR_CHARS: Final = 2048
"""Published bound of the opaque cursor."""

BURST_OF_MINUTE: Final = 0.25
"""Part of a minute's allowance that may be spent at once. With the default share of 0.8 a burst and the steady rate
together (0.8 + 0.8 x 0.25 = 1.0) stay within the published limit in every window, fixed or sliding."""

RATE_PAUSE: Final = Backoff(5.0, 900.0)
"""A 429 that names no time pauses from 5 s, doubling, up to a quarter of an hour."""

LONGEST_RETRY_AFTER_S: Final = RATE_PAUSE.longest_s
"""A wrong ``Retry-After`` must not stop a hub, or one recording, for a year."""

UNAUTHORIZED_PROBE_S: Final = 300.0
"""After a 401 one call per this interval asks whether the key works again; a storm would spend the project's budget."""

FORBIDDEN_PROBE_S: Final = 300.0
FORBIDDEN_AFTER: Final = 3
"""403s in a row of one kind of call that mean a missing scope; a single one may be one foreign object."""

OUTAGE_AFTER: Final = 3
"""Calls in a row without a usable answer that mean an outage and not bad luck."""

OUTAGE: Final = Backoff(5.0, 300.0)
"""An outage is probed after 5 s, doubling up to 5 min: back soon after a router restart, cheap over a weekend."""

URL_MARGIN_S: Final = 300.0
URL_MARGIN_OF_LIFETIME: Final = 0.25
"""A kept URL is used again only if it lives this much longer: 5 minutes, or a quarter of a shorter lifetime. S3 judges
the expiry when a request begins, so the transfer itself needs no margin."""

MAX_HEADERS: Final = 32
"""Most headers taken over from an upload-url answer; real ones carry one or two."""
