"""What a failed connect means, how long to wait, and what to tell the operator.

bleak hands over what BlueZ says, and BlueZ says it by D-Bus error name and by text. Texts are matched as substrings:
since 5.8x BlueZ may send ``:le-connection-busy:words for people`` where it sent ``le-connection-busy``, and older
versions sent the words of errno (``Host is down``). The ``-connection-`` texts are those of BlueZ's src/error.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)
from dbus_fast import AuthError
from dbus_fast.errors import DBusFastError

from bota_gateway.backoff import Backoff
from bota_gateway.errors import ConnectKind

BACKEND_FAILURES: Final = (
    BleakError,
    DBusFastError,
    OSError,  # the bus's socket, and TimeoutError
    EOFError,  # the bus hung up
    AssertionError,  # bleak asserts that it has a bus, which it drops when the device disconnects between two tries
    AttributeError,  # the same, where it does not assert
    KeyError,  # objects that BlueZ removed while bleak was reading them
    RuntimeError,
)
"""What a call of bleak may raise for reasons of the radio. Anything else is a fault of our own and not hidden."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from one kind of failure."""

    backoff: Backoff
    advice: str
    """One line for the operator."""


RULES: Final[Mapping[ConnectKind, Rule]] = {
    # Interference or a lost packet: bleak-retry-connector retries after 0.25 to 1 s. We rather let others go first.
    ConnectKind.TRANSIENT: Rule(
        Backoff(2, 60), "Nothing to do. If it stays: less interference, a USB extension cable, closer."
    ),
    # It costs CONNECT_S during which nobody else connects, so it is not repeated at once.
    ConnectKind.TIMEOUT: Rule(
        Backoff(15, 300), "Nothing to do: it is out of range or held by a phone. If it stays, go closer."
    ),
    # BlueZ has no such device any more: it must be seen again first, which takes one scan cycle of 15 s at most.
    ConnectKind.GONE: Rule(
        Backoff(5, 120), "Nothing to do: it is connected when it is seen again. If it stays, go closer."
    ),
    # bleak's clean-up has cancelled the pending attempt (Device1.Disconnect); BlueZ needs a moment to notice.
    ConnectKind.BUSY: Rule(
        Backoff(5, 120), "Close other Bluetooth programs on this hub, and the phone's app, for this recorder."
    ),
    # Controllers free a slot seconds late: 4 s is bleak-retry-connector's figure.
    ConnectKind.NO_SLOTS: Rule(Backoff(4, 60), "Lower radio.max_links, or add a Bluetooth adapter."),
    # Nothing changes until someone acts, so hardly ever.
    ConnectKind.AUTHENTICATION: Rule(
        Backoff(300, 3600), "Forget the recorder on this hub (bluetoothctl remove ADDRESS) and pair it again."
    ),
    # Short: an adapter that was switched on again, or a bluetoothd that restarted, should be used soon.
    ConnectKind.ADAPTER_DOWN: Rule(
        Backoff(10, 60), "Check with: bluetoothctl show; rfkill list bluetooth; systemctl status bluetooth."
    ),
}

PERMISSION_ADVICE: Final = (
    "Let the gateway's user talk to BlueZ: add it to the group bluetooth, or fix the D-Bus policy."
)
VERSION_ADVICE: Final = "Install BlueZ 5.55 or newer; 5.66 is the oldest that is tested."


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that BlueZ, the bus or bleak says, and what it means."""

    said: str
    """Part of the text, in lower case; or, with dots in it, the beginning of a D-Bus error's name."""
    kind: ConnectKind

    def fits(self, name: str, text: str) -> bool:
        """Whether an error of this name ("" for none) and text, in lower case, says so."""
        return name.startswith(self.said) if "." in self.said else self.said in text


def _signs(kind: ConnectKind, *said: str) -> tuple[Sign, ...]:
    return tuple(Sign(one, kind) for one in said)


SIGNS: Final = (
    # -- texts: what BlueZ's src/error.h calls le-connection-* and br-connection-*, or errno's words for the same
    *_signs(
        ConnectKind.ADAPTER_DOWN,
        "connection-adapter-not-powered",  # EHOSTUNREACH
        "no route to host",
        "host is unreachable",
        "network is down",  # ENETDOWN: no power, before anything was tried
        "no such device",  # ENODEV: the controller is gone
        "adapter '",  # bleak: adapter 'hci0' not found
        "requires bluez",  # bleak
    ),
    *_signs(
        ConnectKind.NO_SLOTS,
        "connection-concurrent-connection-limit",  # EMLINK
        "too many links",
        "connection limit exceeded",
        "connection-memory-allocation",  # ENOMEM
        "cannot allocate memory",
        "connection slot",  # remote adapters: "No free connection slot", "no more ... slots"
        "no more slots",
        "available connection",
    ),
    *_signs(
        ConnectKind.AUTHENTICATION,
        "connection-key-missing",  # EBADE: one side has forgotten the pairing
        "invalid exchange",
        "permission denied",  # EACCES: the security that was asked for could not be had
        "not paired",
    ),
    *_signs(
        ConnectKind.BUSY,
        "connection-busy",  # EBUSY
        "device or resource busy",
        "connection-already-connected",  # EALREADY, EISCONN
        "already in progress",
        "already connected",
        "connection-refused",  # ECONNREFUSED: the peer has no room for another central
        "connection refused",
    ),
    *_signs(
        ConnectKind.TIMEOUT,
        "connection-page-timeout",  # EHOSTDOWN
        "host is down",
        "connection-timeout",  # ETIMEDOUT
        "connection timed out",
    ),
    *_signs(
        ConnectKind.TRANSIENT,
        "connection-abort",  # -by-local, -by-remote, and br-connection-aborted-by-...: interference, or a lost packet
        "connection abort",
        "connection reset",
        "connection-canceled",  # the link fell while its making was not yet answered; or somebody else's Disconnect
        "-protocol-error",  # link layer or LMP
        "connection-gatt-browsing",
        "connection-create-socket",  # EIO; clears by itself
        "connection-bad-socket",
        "connection-unknown",
        "connection-profile-unavailable",  # BlueZ took it for a BR/EDR device, by what little it had heard
    ),
    *_signs(ConnectKind.GONE, "device '"),  # bleak: device 'dev_AA_...' not found
    # -- names
    *_signs(
        ConnectKind.BUSY,
        "org.bluez.Error.AlreadyConnected",
        "org.bluez.Error.Busy",
        # A connect by somebody else, or by an earlier life of ours, is pending (bleak-retry-connector issue 226).
        "org.bluez.Error.InProgress",
    ),
    *_signs(
        ConnectKind.AUTHENTICATION,
        "org.bluez.Error.Authentication",  # Canceled, Failed, Rejected, Timeout
        "org.bluez.Error.AgentNotAvailable",
        "org.bluez.Error.NotAuthorized",
        "org.bluez.Error.NotPermitted",
    ),
    *_signs(
        ConnectKind.ADAPTER_DOWN,
        "org.bluez.Error.NotReady",
        "org.bluez.Error.NoSuchAdapter",
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.Disconnected",
        # bluetoothd died, restarted under us, or can't be started.
        "org.freedesktop.DBus.Error.NameHasNoOwner",
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.NoServer",
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.Spawn.",
        "org.freedesktop.DBus.Error.TimedOut",
        "org.freedesktop.DBus.Error.Timeout",
        "org.freedesktop.systemd1.",
    ),
    *_signs(
        ConnectKind.GONE,
        "org.bluez.Error.DoesNotExist",
        # The device object went away: removed by BlueZ, or by a bluetoothd that started anew.
        "org.freedesktop.DBus.Error.UnknownMethod",
        "org.freedesktop.DBus.Error.UnknownInterface",
        "org.freedesktop.DBus.Error.UnknownObject",
    ),
    *_signs(
        ConnectKind.TRANSIENT,
        "org.bluez.Error.ConnectionAttemptFailed",
        "org.bluez.Error.BREDR.ProfileUnavailable",  # since 5.8x, as connection-profile-unavailable
        "org.bluez.Error.NotAvailable",
        "org.bluez.Error.NotConnected",
        "org.bluez.Error.NotSupported",
        "org.bluez.Error.InvalidArguments",
        "org.bluez.Error.Failed",  # after its text had its say
    ),
)
"""The one table of what errors mean; the first that fits counts, and what fits none is transient."""

_SECURITY_CODES: Final = frozenset(
    {
        BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
        BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHORIZATION,
        BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
        BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION_KEY_SIZE,
    }
)

_OUT_OF_PLACE_CODES: Final = frozenset(
    {
        BleakGATTProtocolErrorCode.INVALID_HANDLE,
        BleakGATTProtocolErrorCode.READ_NOT_PERMITTED,
        BleakGATTProtocolErrorCode.WRITE_NOT_PERMITTED,
        BleakGATTProtocolErrorCode.REQUEST_NOT_SUPPORTED,
        BleakGATTProtocolErrorCode.ATTRIBUTE_NOT_FOUND,
    }
)
"""What a recorder answers to a read or write of what is something else, or nothing, there now."""

_LINK_GONE_TEXTS: Final = ("not connected", "disconnected", "service discovery has not been performed")
_LINK_GONE_NAMES: Final = (
    "org.bluez.Error.NotConnected",
    *(
        sign.said
        for sign in SIGNS
        if "." in sign.said
        and sign.kind in {ConnectKind.GONE, ConnectKind.ADAPTER_DOWN}
        and not sign.said.endswith("AccessDenied")
    ),
)


def classify(error: BaseException) -> ConnectKind:
    """The kind of a failed connect, scan or disconnect; transient when nothing says otherwise."""
    by_type = _by_type(error)
    if by_type is not None:
        return by_type
    sign = find_sign(error)
    return ConnectKind.TRANSIENT if sign is None else sign.kind


def find_sign(error: BaseException) -> Sign | None:
    """The row of the table that fits what the error says."""
    if not isinstance(error, BleakError):
        return None
    name = error.dbus_error if isinstance(error, BleakDBusError) else ""
    text = describe(error).lower()
    return next((sign for sign in SIGNS if sign.fits(name, text)), None)


def _by_type(error: BaseException) -> ConnectKind | None:
    match error:
        case BleakDeviceNotFoundError():
            return ConnectKind.GONE
        case BleakBluetoothNotAvailableError() | AuthError():
            return ConnectKind.ADAPTER_DOWN
        case BleakGATTProtocolError() if error.code in _SECURITY_CODES:
            return ConnectKind.AUTHENTICATION
        case TimeoutError():  # before OSError, of which it is one
            return ConnectKind.TIMEOUT
        case OSError() | EOFError():
            return ConnectKind.ADAPTER_DOWN  # the system bus is gone
        case _:
            return None


def advise(error: BaseException) -> str:
    """One line of advice for the operator."""
    match error:
        case BleakBluetoothNotAvailableError() if error.reason is BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM:
            return PERMISSION_ADVICE
        case AuthError() | PermissionError():
            return PERMISSION_ADVICE
        case BleakDBusError() if error.dbus_error == "org.freedesktop.DBus.Error.AccessDenied":
            return PERMISSION_ADVICE
        case BleakError() if "requires bluez" in str(error).lower():
            return VERSION_ADVICE
        case _:
            return RULES[classify(error)].advice


def backoff_of(kind: ConnectKind) -> Backoff:
    """The waits after failures in a row, the last of them of ``kind``."""
    return RULES[kind].backoff


def is_link_loss(error: BaseException) -> bool:
    """Whether a failed GATT operation means that the link is gone, even where bleak has not noticed.

    When bluetoothd dies, bleak calls no disconnected callback: the first failing call is all there is to see.
    """
    if isinstance(error, BleakDBusError) and error.dbus_error.startswith(_LINK_GONE_NAMES):
        return True
    if isinstance(error, BleakError):
        text = describe(error).lower()
        return any(part in text for part in _LINK_GONE_TEXTS)
    return isinstance(error, (OSError, EOFError, AssertionError, AttributeError)) and not isinstance(
        error, TimeoutError
    )


def needs_pairing(error: BaseException) -> bool:
    """Whether a GATT operation was refused for want of pairing or encryption."""
    if isinstance(error, BleakGATTProtocolError):
        return error.code in _SECURITY_CODES
    return isinstance(error, BleakDBusError) and "not paired" in describe(error).lower()


def is_out_of_place(error: BaseException) -> bool:
    """Whether a GATT operation failed as it does when the services have been moved since they were read."""
    return isinstance(error, KeyError) or (
        isinstance(error, BleakGATTProtocolError) and error.code in _OUT_OF_PLACE_CODES
    )


def is_early_end(error: BaseException) -> bool:
    """Whether a link was made, and ended before its services were known."""
    return isinstance(error, BleakError) and "device disconnected" in describe(error).lower()


def describe(error: BaseException) -> str:
    """The error in its own words, never empty."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
