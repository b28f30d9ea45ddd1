-- Version 5: how transfers went, without reading the timelines of years.

-- The lines that end a transfer; their detail has its figures.
CREATE INDEX timeline_of_transfers ON timeline (at) WHERE happened IN ('captured', 'receiving_abandoned', 'parked');
