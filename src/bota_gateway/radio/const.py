"""The numbers of this room. Each says why it is that number, what breaks otherwise, and where it comes from.

Seconds unless the name says otherwise. "Companion" is the vendor's mobile SDK (docs/protocol.md, "Constants").
"""

from typing import Final

from bota_gateway.backoff import Backoff

# -- scanning ---------------------------------------------------------------------------------------------------------

SCAN_START_S: Final = 15.0
"""BlueZ answers StartDiscovery within milliseconds, or late while the adapter powers up; habluetooth waits as long."""

SCAN_STOP_S: Final = 10.0
"""A stop that BlueZ rejects with InProgress costs bleak two more calls (bleak pull request 2022)."""

PAUSE_S: Final = SCAN_STOP_S + 2.0
"""How long a connect waits for the scanner to stop. Then it goes ahead: a connect beside a scan may fail, waiting for
ever is sure to."""

SILENT_S: Final = 90.0
"""No advertisement from anybody for this long of scanning means that the scanner is dead, not the world: BlueZ stops
delivering without an error (bluez issues 343, 1126, 1554). One BlueZ scan cycle is 10 s of scanning and 5 s of rest, so
this is six cycles. habluetooth uses the same figure; shorter restarts scanners that work, in lonely places."""

TIMER_GRAIN_S: Final = 1e-6
"""Timers may fire a nanosecond early, and sums of times are rounded: what is left below this has passed."""

PATIENCE: Final = Backoff(SILENT_S, 900.0)
"""A restart that brought nothing doubles the patience: in a lonely place restarts would fill the log."""

RESTARTS_FIRST: Final = 2
"""Restarts of the scanner before the adapter is switched off and on, where there is evidence that there is something to
hear. One restart may fall into the same pause of the air or meet the same fault of BlueZ; a third is not better."""

RESTARTS_AT_MOST: Final = 4
"""The same without evidence, with growing patience: 22 minutes in all, and a quarter of an hour later it is tried, too:
a bluetoothd that has lost track of its own scan (BlueZ issue 807) hears nothing from the start, so that there never is
evidence, and nothing else helps there."""

POWER_AGAIN: Final = Backoff(3600.0, 86_400.0)
"""The adapter is switched off and on again an hour after that did not help, then after two, and so on: what was of no
use is seldom of use soon after, and whoever else uses the adapter is disturbed each time. Once a day disturbs nobody;
after a day without, the count begins anew."""

POWER_OFF_S: Final = 2.0
"""Between off and on. BlueZ answers when the controller is off, so this is spare time, for other programs to notice."""

POWER_ON_TRIES: Final = 5
"""Power-on is answered with Busy for some seconds after a kill switch, or while the controller resets."""

POWER_ON_RETRY_S: Final = 2.0
"""Between them: ten seconds in all. After that the scanner goes on trying, with its own waits."""

CROWD: Final = 3
"""So many devices that were heard within `CROWD_S` do not all leave or fall silent at once: it is the adapter."""

CROWD_S: Final = 60.0
"""Before the last sound: four BlueZ scan cycles, so that slow advertisers are counted, and shorter than the 15 minutes
after which phones change their address, so that none is counted twice."""

BLUEZ_CALL_S: Final = 10.0
"""BlueZ answers such calls in milliseconds; powering an adapter on takes up to 5 s on slow USB controllers."""

BUS_RETRY: Final = Backoff(1.0, 30.0)
"""For a system bus that is gone. A restart of D-Bus takes seconds; without one nothing works anyway."""

ADAPTERS_CHECK_S: Final = 300.0
"""Adapters are looked for when BlueZ tells of a change, and this often in case it did not."""

SCAN_RETRY: Final = Backoff(1.0, 60.0)
"""After a scanner that would not start. An adapter that is off or gone is tried every minute: whoever plugs it in again
should not wait longer."""

# -- sightings --------------------------------------------------------------------------------------------------------

PRESENT_S: Final = 45.0
"""A recorder heard within this is in range. BlueZ scans 10 s of 15 s and may miss a slow advertiser in one cycle,
so three cycles; shorter makes recorders flicker."""

FORGET_S: Final = 900.0
"""A sighting this old is dropped: BlueZ has removed its device object long before (three minutes after the last
advertisement), so that it is of no use for connecting."""

UNOWNED_KEPT_S: Final = 3600.0
"""A device silent for this long that BlueZ remembers for nobody is dropped. Longer than any pause of a recorder in
range; a recorder that comes back costs one more discovery of its services, about a second."""

UNOWNED_CHECK_S: Final = 600.0
"""How often they are looked for: each look reads everything that BlueZ has."""

UNOWNED_AT_ONCE: Final = 50
"""Removed in one go: each is a call that bluetoothd answers with writes to the card. The rest follows at the next."""

ADDRESSES_KEPT: Final = 1024
"""Advertisers remembered at once, ours and others. Phones change their address every 15 minutes, and anybody may
pretend to be a thousand recorders: memory must not follow. Dropped is who was silent for longest."""

STRONGER_DB: Final = 6
"""Another adapter takes a recorder over only when it hears it this much stronger: readings of one adapter vary by
several dB from packet to packet, and switching for noise gains nothing."""

RSSI_UNKNOWN: Final = -127
"""bleak's value on BlueZ for "not measured" (Bluetooth Core 5.4, Vol 4, E 7.7.65.2, has 127). BlueZ calls back for any
change of a device's properties, even when nothing was received; such a call is no sighting."""

STALE_S: Final = 1.0
"""For this long after a link nothing counts as its recorder being heard again. BlueZ tells the end of a link in several
property changes, and bleak calls back for each with the last signal strength that BlueZ knows. That is one of before
the link where another program's discovery kept it: neither connecting nor disconnecting clears it, only the end of the
last discovery does (``discovery_cleanup`` in BlueZ's src/adapter.c). The changes come within milliseconds of one
another, and a recorder goes on advertising: what is passed over is soon followed by another."""

# -- connecting -------------------------------------------------------------------------------------------------------

CONNECT_S: Final = 20.0
"""Connecting and service discovery together. The kernel gives a connect up after 20 s; the companion allows 30 and its
successor 15; bleak-retry-connector found 20 with more tries better. Meanwhile nobody else connects by this adapter."""

CLEANUP_S: Final = 5.0
"""After a cancelled or timed-out call, bleak tidies up (on BlueZ: Device1.Disconnect, which also cancels a pending
connect). That takes up to 2 s with a live bluetoothd and for ever with a hung one: then it is cancelled once more."""

CONNECT_HARD_S: Final = CONNECT_S + CLEANUP_S
"""bleak's own time-out has the first word, because it tidies up best; this one ends what bleak does not."""

DISCONNECT_S: Final = 12.0
"""bleak waits up to 10 s for BlueZ to report the disconnect; a dead bluetoothd never answers."""

END_TURN_S: Final = 5.0
"""How long a link's end waits for a connect on the same adapter. Linux 6.1 that is told to end one link while it makes
another overlooks that the other is there, gives it up after 4 s ("Opcode 0x200e failed: -16"), and from then on ends no
link of that adapter at all (seen with 6.1.0-50 in ``scripts/vm``). A connect that takes longer is one to a recorder
that is not heard, which does no harm."""

MTU_DEFAULT: Final = 23
"""ATT MTU before negotiation (Bluetooth Core 5.4, Vol 3, F 3.2.8)."""

ATT_HEADER: Final = 3
"""Opcode and handle: bytes of each packet that a notification or write can't use."""

MTU_SETTLE_S: Final = 1.0
"""The MTU may settle up to a second after connecting (the companion polls for 2 s). BlueZ has it before services are
discovered, so this only costs time with a recorder that really grants 23."""

MTU_POLL_S: Final = 0.1
"""BlueZ announces no change of the MTU that bleak passes on, so it is polled."""

LOAD_DB: Final = 10
"""An adapter counts as this much weaker for each link that it holds: a controller's air time is shared by its links, so
that a second one halves both, while above -80 dBm the signal hardly limits the rate. 10 dB is a tenfold distance in
power, about twice to three times in metres indoors."""

WEAK_RSSI: Final = -85
"""An adapter that hears it weaker than this is taken only if no other has a place: connects fail often there."""

CONNECT_TURN_S: Final = (
    PAUSE_S + CONNECT_HARD_S + CLEANUP_S + MTU_SETTLE_S + DISCONNECT_S + CLEANUP_S + 4 * (BLUEZ_CALL_S + CLEANUP_S)
)
"""Longest turn to connect, two minutes: the scanner stops, the connect fails as late as it can, what is left of it is
ended, and BlueZ is twice made to forget the recorder, by two calls each."""

POWER_CYCLE_S: Final = (
    POWER_OFF_S + POWER_ON_TRIES * POWER_ON_RETRY_S + (2 + POWER_ON_TRIES) * (BLUEZ_CALL_S + CLEANUP_S)
)
"""Longest power cycle, two minutes: BlueZ is asked who is connected, to switch off, and as often as may be on again."""

LEFTOVERS_S: Final = 60.0
"""For ending all that is left over: each takes milliseconds, but a bluetoothd that hangs would answer none of them."""

LEFTOVERS_AGAIN_S: Final = 15.0
"""After a start, links left over are looked for once more: a bluetoothd that has just started registers its adapters
before the kernel has told it of their links."""

CANCEL_LEFTOVERS: Final = 64
"""Devices at most that are checked for a half-made connection at start; a hub meets far fewer recorders."""

IN_PROGRESS_AT_MOST: Final = 2
"""Connects in a row that BlueZ refuses as "in progress" before it is made to forget the recorder. After the first one
bleak has cancelled what was under way; a second shows that this did not help."""

ENDED_EARLY_AT_MOST: Final = 3
"""Links in a row of a paired recorder that end before it has answered anything; then the pairing is given up. A weak
signal does that too, so not the first; but one that has lost its keys does it at every link, and nothing else helps."""

REFRESH_AGAIN: Final = Backoff(3600.0, 86_400.0)
"""A recorder that BlueZ was made to forget in vain has a fault of its own; an hour later it may have been updated. Once
a day does no harm, and finds the firmware update of that day."""

PAIR_S: Final = 30.0
"""SMP itself gives up after 30 s (Vol 3, H 3.4)."""

# -- links ------------------------------------------------------------------------------------------------------------

GATT_S: Final = 10.0
"""One read, write or subscription. The companion allows 10 s; ATT itself 30 s (Vol 3, F 3.3.3), after which the link is
dead anyway. A recorder stalls like this right after a firmware update."""

NOTIFICATION_BUFFER: Final = 1 << 20
"""Bytes of notifications held for a reader, by default: 10 s at the 100 kB/s that the radio can do. When full, new
packets are dropped and counted, and the sequence numbers of the transfer show the gap."""
