"""Numbers of this room that carry field knowledge, each with its reason."""

IDENTITY_S = 8.0
"""Limit for reading identity: both published companions give their reads after connecting 8 s together. They never
pair; a pairing that is demanded first has its own limit (radio/const.py)."""

REGISTRAR_WAIT_S = 5.0
"""How long a first visit waits for the cloud to say whose the recorder is: one API call takes well under a second,
and a held recorder is invisible to its owner's phone."""

CAPABILITY_POLL_S = 0.1
CAPABILITY_LIMIT_S = 10.0
"""A capability document with flags 0 says "still starting": re-read every 100 ms, give up after 10 s, as the vendor's
companions do (docs/protocol.md, "Choosing version 1 or 2")."""

SETTLE_S = 0.3
"""After a refused transfer, notifications still on their way are ignored this long before anything else is asked
(docs/protocol.md, "Result of a transfer")."""

QUIET_S = 0.1
"""A link that brought nothing for this long at the end of the settling time has stopped sending: packets of a running
transfer come every few milliseconds, at most a few connection intervals of about 30 ms apart."""

LIST_TRIES = 2
"""A silent list although the status counts recordings is asked for once more, then it is an error."""

TRANSFER_TRIES = 2
"""Transfers of one recording in one visit: a lost notification deserves a second try, a broken recorder no third."""

FAILURES_IN_A_ROW = 3
"""Transfers of different recordings that fail one after the other, worth a later try, end a visit: then it is not the
recording. Each may take seconds of silence, during which others wait and the owner's phone is locked out."""

SMALLEST_MTU = 23
"""What a link has before it negotiates. A list entry does not fit one notification then."""

STORAGE_NEAR_FULL = 0.85
"""Part of a recorder's storage in use from which it is visited as often as while it records."""

AWAY_S = 120.0
"""Heard again after this long, a recorder has come into range. Longer than ``PRESENT_S`` of radio/, so that a pause of
the scan for a few connections does not look like a departure."""

SOON_S = 0.25
"""Happenings this close together are looked at together: many recorders advertise many times a second."""
