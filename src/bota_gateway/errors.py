"""Every error the gateway raises across rooms, in one tree.

GatewayError                      code and remedy, always
├── ConfigError                   config_*: the operator's file, key or flags; ``run`` exits 2
├── SpoolError                    spool_*: durability is not given; ``run`` exits 3 where it can't be kept
│   ├── SpoolLockedError              another daemon holds it
│   ├── SpoolTooNewError              written by a newer version
│   ├── SpoolForeignError             the file is some other program's
│   ├── SpoolCorruptError             the database is damaged; the next start sets it aside
│   ├── SpoolFullError                quota or free-space floor reached: pulling stops, uploading goes on
│   └── SpoolWriteError               the disk refused a write
├── RadioError                    radio_*: an adapter, a connection, a GATT operation
│   ├── AdapterError                  no adapter, powered off, gone, bluetoothd not there
│   │   └── DeafAdapterError              it hears nothing, whatever is tried
│   ├── ConnectError                  classified by ``kind``
│   ├── LinkLostError                 the link ended while something was under way
│   ├── GattError                     a read, write or subscription was refused or timed out
│   ├── PairingError                  encryption is demanded, and pairing failed
│   └── PairingStalledError           it was paired, and BlueZ lost what was asked meanwhile
├── RecorderError                 recorder_*: what a recorder said or did not say
│   ├── IdentityError                 no readable serial
│   ├── StatusUnreadableError         its status, and so who owns its uploads, is not known
│   ├── CapabilitiesError             it has a version-2 part that can't be judged
│   ├── ListError                     the list did not come or is rubbish
│   ├── UnrulyError                   it goes on sending after its transfer was refused
│   └── TransferError                 a transfer ended without a good recording; ``retry`` says when to try again
├── CloudError                    cloud_*: the Bota API or S3 answered, or did not
│   ├── CloudUnreachableError         no answer: the outcome of a write is unknown
│   ├── CloudRefusedError             an answer that says no; carries status and body code
│   └── CloudProtocolError            an answer that can't be understood
└── StatusError                   status_*: the daemon's socket, as the command line sees it

The wire decoders raise ``protocol.DecodeError`` instead: that room imports nothing of this package.

A code never changes once released. A remedy is written for someone on a ladder with a phone.
"""

from enum import StrEnum
from typing import ClassVar


class GatewayError(Exception):
    """A fault that has no code of its own. Every error says what happened, to what, and what to do next."""

    code: ClassVar[str] = "gateway_error"
    remedy: ClassVar[str] = "Report this with the log lines around it."

    def __init__(self, message: str, *, remedy: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.next_step = remedy or self.remedy

    def __str__(self) -> str:
        return f"{self.message} [{self.error_code}] {self.next_step}"


class ConfigError(GatewayError):
    """The configuration can't be used as it is."""

    code = "config_invalid"
    remedy = "Correct the named setting; config.example.toml shows each one."


class SpoolError(GatewayError):
    """The spool can't promise durability, or was asked for something it does not hold."""

    code = "spool_error"
    remedy = "Check the disk that holds the spool; nothing is deleted on a recorder meanwhile."


class SpoolLockedError(SpoolError):
    """Another process holds the spool."""

    code = "spool_locked"
    remedy = "Stop the other gateway first: sudo systemctl stop bota-gateway."


class SpoolTooNewError(SpoolError):
    """The spool was written by a newer version."""

    code = "spool_too_new"
    remedy = "Install that version again; an older one would not understand what it wrote."


class SpoolForeignError(SpoolError):
    """The file is a database of some other program; it is not touched."""

    code = "spool_foreign"
    remedy = "Name another directory in spool.directory, or move that file away."


class SpoolCorruptError(SpoolError):
    """The database is damaged: nothing that it says can be relied on any more."""

    code = "spool_corrupt"
    remedy = "Nothing to do: the next start sets it aside for a new one, and recorders send again what they hold."


class SpoolFullError(SpoolError):
    """No room for more audio; uploading goes on and makes room."""

    code = "spool_full"
    remedy = "Wait for uploads to drain, or raise spool.max_bytes, or free space on the disk."


class SpoolWriteError(SpoolError):
    """The disk refused a write; nothing was acknowledged."""

    code = "spool_write_failed"
    remedy = "Check the disk or card with dmesg; replace it if it reports errors."


class RadioError(GatewayError):
    """Something between the hub's adapter and a recorder."""

    code = "radio_error"
    remedy = "Nothing to do: it is tried again."


class AdapterError(RadioError):
    """No usable Bluetooth adapter."""

    code = "radio_no_adapter"
    remedy = "Check with: bluetoothctl list; rfkill list bluetooth; systemctl status bluetooth."


class DeafAdapterError(AdapterError):
    """An adapter hears nothing although there is something to hear, and nothing that was tried helped."""

    code = "radio_adapter_deaf"
    remedy = (
        "Take the hub's power away for ten seconds: onboard radios have no other reset. Unplug a USB adapter for ten "
        "seconds. If it repeats, use another adapter."
    )


class ConnectKind(StrEnum):
    """Why a connection could not be made; each kind has its own back-off (radio/classify.py)."""

    GONE = "gone"
    TRANSIENT = "transient"
    BUSY = "busy"
    NO_SLOTS = "no_slots"
    AUTHENTICATION = "authentication"
    ADAPTER_DOWN = "adapter_down"
    TIMEOUT = "timeout"


class ConnectError(RadioError):
    """A recorder could not be connected."""

    code = "radio_connect_failed"
    remedy = "Nothing to do: it is tried again when the recorder is seen."

    def __init__(self, message: str, *, kind: ConnectKind, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy, code=f"radio_connect_{kind}")
        self.kind = kind


class LinkLostError(RadioError):
    """The link ended while something was under way."""

    code = "radio_link_lost"
    remedy = "Nothing to do: the recorder keeps its recordings and is visited again. If it stays, bring it nearer."


class GattError(RadioError):
    """A GATT operation was refused or got no answer."""

    code = "radio_gatt_failed"
    remedy = "Nothing to do: the visit is repeated. If it stays, restart the recorder."

    @property
    def refused(self) -> bool:
        """The recorder said no to this one thing, so that the next may well go; it was not silence."""
        return self.error_code == self.code


class PairingError(RadioError):
    """A recorder demands encryption, and pairing with it failed."""

    code = "radio_pairing_failed"
    remedy = "Forget old pairings on both sides, on the hub with: bluetoothctl remove ADDRESS."


class PairingStalledError(RadioError):
    """A recorder was paired, and nothing that was asked over that link is answered any more."""

    code = "radio_pairing_stalled"
    remedy = "Nothing to do: the next visit, in seconds, begins encrypted. BlueZ 5.78 and later do not stall."


class RecorderError(GatewayError):
    """A recorder said something that can't be followed, or said nothing."""

    code = "recorder_error"
    remedy = "Nothing to do: the recorder keeps its recordings and is visited again."


class IdentityError(RecorderError):
    """The serial can't be read or is no serial."""

    code = "recorder_no_identity"
    remedy = "Restart the recorder; if it stays, its firmware needs a look."


class StatusUnreadableError(RecorderError):
    """The status can't be read: whether the recorder uploads by itself is not known, so nothing is pulled."""

    code = "recorder_status_unreadable"
    remedy = "Nothing to do: the visit is repeated. If it stays, restart the recorder."


class CapabilitiesError(RecorderError):
    """The version-2 capability document is there but can't be judged: version 1 must not be assumed."""

    code = "recorder_capabilities_unreadable"
    remedy = "Restart the recorder; if it stays, compare its firmware with the versions this gateway knows."


class UnrulyError(RecorderError):
    """A recorder goes on sending after its transfer was refused and aborted; the link is ended instead."""

    code = "recorder_unruly"
    remedy = "Nothing to do: the recorder is visited again. If it stays, restart it."


class ListError(RecorderError):
    """The list of recordings did not come, or is rubbish."""

    code = "recorder_list_failed"


class TransferRetry(StrEnum):
    """When a failed transfer is worth another try."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"
    """Only a human can help: the recording is parked, and stays on the recorder."""


class TransferError(RecorderError):
    """A transfer ended without a good recording; nothing was acknowledged."""

    code = "recorder_transfer_failed"

    def __init__(self, message: str, *, retry: TransferRetry, code: str, remedy: str | None = None) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.retry = retry


class CloudError(GatewayError):
    """The Bota API or S3."""

    code = "cloud_error"
    remedy = "Nothing to do: it is tried again."


class CloudUnreachableError(CloudError):
    """No answer came. What a write did is unknown until the cloud is asked."""

    code = "cloud_unreachable"
    remedy = "Check the hub's network; captured recordings wait in the spool."


class CloudRefusedError(CloudError):
    """The cloud answered no."""

    code = "cloud_refused"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body_code: str | None = None,
        retry_after_s: float | None = None,
        fields: frozenset[str] = frozenset(),
        code: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.status = status
        self.body_code = body_code
        self.retry_after_s = retry_after_s
        self.fields = fields
        """Request fields that the answer names: they tell which contract generation answers."""


class CloudProtocolError(CloudError):
    """An answer that can't be understood: as unknown an outcome as none."""

    code = "cloud_protocol"
    remedy = "Check that cloud.api_base names the Bota API and no proxy answers in its place."


class StatusError(GatewayError):
    """The daemon does not answer on its socket."""

    code = "status_no_daemon"
    remedy = "Start it: sudo systemctl start bota-gateway, or name its socket with --socket."
