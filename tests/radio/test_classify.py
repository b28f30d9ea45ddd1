from typing import Any

import pytest
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakBluetoothNotAvailableReason,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
)
from dbus_fast import AuthError

from bota_gateway.errors import ConnectKind
from bota_gateway.radio.classify import (
    RULES,
    SIGNS,
    Sign,
    advise,
    backoff_of,
    classify,
    describe,
    find_sign,
    is_link_loss,
    is_out_of_place,
    needs_pairing,
)

FAILED = "org.bluez.Error.Failed"
BUS = "org.freedesktop.DBus.Error"


def dbus(name: str, *body: Any) -> BleakDBusError:
    return BleakDBusError(name, list(body))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (dbus(FAILED, "le-connection-abort-by-local"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "le-connection-abort-by-remote"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "le-connection-gatt-browsing"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "le-connection-link-layer-protocol-error"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "le-connection-unknown"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "br-connection-canceled"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "br-connection-profile-unavailable"), ConnectKind.TRANSIENT),
        (dbus(FAILED, "Software caused connection abort"), ConnectKind.TRANSIENT),
        (dbus(FAILED), ConnectKind.TRANSIENT),
        (dbus("org.bluez.Error.ConnectionAttemptFailed", "Page Timeout"), ConnectKind.TRANSIENT),
        (dbus("org.bluez.Error.NotSupported", "Operation is not supported"), ConnectKind.TRANSIENT),
        (BleakError("failed to discover services, device disconnected"), ConnectKind.TRANSIENT),
        (KeyError("/org/bluez/hci0/dev_C0_FF_EE_00_00_01/service000a"), ConnectKind.TRANSIENT),
        (TimeoutError(), ConnectKind.TIMEOUT),
        (dbus(FAILED, "le-connection-timeout"), ConnectKind.TIMEOUT),
        (dbus(FAILED, "br-connection-page-timeout"), ConnectKind.TIMEOUT),
        (dbus(FAILED, "Connection timed out"), ConnectKind.TIMEOUT),
        (dbus(FAILED, "Host is down"), ConnectKind.TIMEOUT),
        (BleakDeviceNotFoundError("C0:FF:EE:00:00:01", "was not found"), ConnectKind.GONE),
        (BleakError("device 'dev_C0_FF_EE_00_00_01' not found"), ConnectKind.GONE),
        (dbus(f"{BUS}.UnknownObject", 'Method "Connect" ... doesn\'t exist'), ConnectKind.GONE),
        (dbus("org.bluez.Error.DoesNotExist", "Does Not Exist"), ConnectKind.GONE),
        (dbus("org.bluez.Error.InProgress", "In Progress"), ConnectKind.BUSY),
        (dbus("org.bluez.Error.InProgress", "Operation already in progress"), ConnectKind.BUSY),
        (dbus("org.bluez.Error.AlreadyConnected", "Already Connected"), ConnectKind.BUSY),
        (dbus(FAILED, "le-connection-busy"), ConnectKind.BUSY),
        (dbus(FAILED, ":le-connection-busy:Device or resource busy"), ConnectKind.BUSY),
        (dbus(FAILED, "le-connection-refused"), ConnectKind.BUSY),
        (dbus(FAILED, "le-connection-concurrent-connection-limit"), ConnectKind.NO_SLOTS),
        (dbus(FAILED, "le-connection-memory-allocation"), ConnectKind.NO_SLOTS),
        (dbus(FAILED, "Too many links"), ConnectKind.NO_SLOTS),
        (BleakError("No more slots available on this adapter"), ConnectKind.NO_SLOTS),
        (BleakError("No backend with an available connection slot that can reach it"), ConnectKind.NO_SLOTS),
        (dbus("org.bluez.Error.AuthenticationFailed", "Authentication Failed"), ConnectKind.AUTHENTICATION),
        (dbus("org.bluez.Error.AuthenticationCanceled", "Canceled"), ConnectKind.AUTHENTICATION),
        (dbus("org.bluez.Error.AuthenticationTimeout", "Timeout"), ConnectKind.AUTHENTICATION),
        (dbus("org.bluez.Error.NotPermitted", "Not paired"), ConnectKind.AUTHENTICATION),
        (dbus(FAILED, "le-connection-key-missing"), ConnectKind.AUTHENTICATION),
        (BleakGATTProtocolError(0x05), ConnectKind.AUTHENTICATION),
        (BleakGATTProtocolError(0x0F), ConnectKind.AUTHENTICATION),
        (BleakGATTProtocolError(0x0E), ConnectKind.TRANSIENT),
        (dbus("org.bluez.Error.NotReady", "Resource Not Ready"), ConnectKind.ADAPTER_DOWN),
        (dbus(FAILED, "le-connection-adapter-not-powered"), ConnectKind.ADAPTER_DOWN),
        (dbus(f"{BUS}.ServiceUnknown", "The name is not activatable"), ConnectKind.ADAPTER_DOWN),
        (dbus(f"{BUS}.NoReply", "Message recipient disconnected"), ConnectKind.ADAPTER_DOWN),
        (dbus(f"{BUS}.AccessDenied", "Rejected send message"), ConnectKind.ADAPTER_DOWN),
        (BleakError("adapter 'hci0' not found"), ConnectKind.ADAPTER_DOWN),
        (BleakError("Bleak requires BlueZ >= 5.55."), ConnectKind.ADAPTER_DOWN),
        (
            BleakBluetoothNotAvailableError("off", BleakBluetoothNotAvailableReason.POWERED_OFF),
            ConnectKind.ADAPTER_DOWN,
        ),
        (AuthError("REJECTED"), ConnectKind.ADAPTER_DOWN),
        (FileNotFoundError("/run/dbus/system_bus_socket"), ConnectKind.ADAPTER_DOWN),
        (BrokenPipeError(), ConnectKind.ADAPTER_DOWN),
        (EOFError(), ConnectKind.ADAPTER_DOWN),
    ],
    ids=lambda value: f"{type(value).__name__}-{value}" if isinstance(value, BaseException) else str(value),
)
def test_a_failure_is_recognised(error: BaseException, kind: ConnectKind) -> None:
    """What BlueZ or bleak says leads to one kind, and to a line of advice."""
    assert classify(error) is kind
    assert advise(error).endswith((".", "bluetooth"))
    assert "\n" not in advise(error)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.said)
def test_each_row_of_the_table_is_found_and_means_what_it_says(sign: Sign) -> None:
    """None is hidden by one before it, whichever way round BlueZ says it; since 5.8x it adds words of its own."""
    errors: list[BleakError]
    if "." in sign.said:
        name = sign.said + ("Something" if sign.said.endswith((".", "Authentication")) else "")
        errors = [dbus(name), dbus(name, "words that mean nothing")]
    else:
        errors = [
            dbus(FAILED, sign.said),
            dbus(FAILED, f":{sign.said}:Some Words"),
            BleakError(f"It said {sign.said}."),
        ]
    for error in errors:
        assert find_sign(error) is sign
        assert classify(error) is sign.kind
        assert advise(error)


BLUEZ_TEXTS = """
br-connection-already-connected br-connection-page-timeout br-connection-profile-unavailable br-connection-sdp-search
br-connection-create-socket br-connection-invalid-argument br-connection-adapter-not-powered
br-connection-not-supported br-connection-bad-socket br-connection-memory-allocation br-connection-busy
br-connection-concurrent-connection-limit br-connection-timeout br-connection-refused br-connection-aborted-by-remote
br-connection-aborted-by-local br-connection-lmp-protocol-error br-connection-canceled br-connection-key-missing
br-connection-unknown le-connection-invalid-arguments le-connection-adapter-not-powered le-connection-not-supported
le-connection-already-connected le-connection-bad-socket le-connection-memory-allocation le-connection-busy
le-connection-refused le-connection-create-socket le-connection-timeout le-connection-concurrent-connection-limit
le-connection-abort-by-remote le-connection-abort-by-local le-connection-link-layer-protocol-error
le-connection-gatt-browsing le-connection-key-missing le-connection-unknown
""".split()  # noqa: SIM905 - forty quoted words are harder to compare with that file
"""All of BlueZ's src/error.h, as of August 2026."""

PERMANENT = {"invalid-argument", "invalid-arguments", "not-supported", "sdp-search"}
"""What no row needs: they are defects of a program, or of BR/EDR only."""


@pytest.mark.parametrize("text", BLUEZ_TEXTS)
def test_every_text_of_bluez_has_a_row(text: str) -> None:
    """Its list is known; what it adds, and no row fits, is taken for transient."""
    sign = find_sign(dbus(FAILED, text))
    assert sign is not None
    assert ("." in sign.said) == (text.split("-", 2)[2] in PERMANENT)


def test_what_nothing_fits_is_transient() -> None:
    """The shortest wait but for the adapter's, and harmless advice."""
    assert find_sign(BleakError("something that nobody has seen yet")) is None
    assert classify(BleakError("something that nobody has seen yet")) is ConnectKind.TRANSIENT


@pytest.mark.parametrize("kind", ConnectKind)
def test_every_kind_has_its_back_off_and_advice(kind: ConnectKind) -> None:
    """No failure is tried again at once, or left for good."""
    assert 0 < backoff_of(kind).first_s < backoff_of(kind).longest_s
    assert RULES[kind].advice


def test_what_needs_a_human_is_tried_least_often() -> None:
    """Pairing problems wait for a person; everything else is tried again within minutes."""
    waits = {kind: backoff_of(kind).first_s for kind in ConnectKind}
    assert max(waits, key=waits.__getitem__) is ConnectKind.AUTHENTICATION
    assert all(backoff_of(kind).longest_s <= 300 for kind in ConnectKind if kind is not ConnectKind.AUTHENTICATION)


@pytest.mark.parametrize(
    "error",
    [
        dbus(f"{BUS}.AccessDenied", "Rejected send message"),
        AuthError("REJECTED"),
        PermissionError("denied"),
        BleakBluetoothNotAvailableError("denied", BleakBluetoothNotAvailableReason.DENIED_BY_SYSTEM),
    ],
)
def test_a_missing_permission_gets_advice_of_its_own(error: BaseException) -> None:
    """Powering the adapter on would not help someone whose D-Bus policy refuses."""
    assert "policy" in advise(error)


@pytest.mark.parametrize(
    "error",
    [
        BleakError("Not connected"),
        BleakError("disconnected"),
        BleakError("Service Discovery has not been performed yet"),
        dbus(FAILED, "Not connected"),
        dbus("org.bluez.Error.NotConnected", "Not Connected"),
        dbus(f"{BUS}.UnknownObject", "gone"),
        dbus(f"{BUS}.NoReply", "bluetoothd died"),
        dbus(f"{BUS}.ServiceUnknown", "bluetoothd is not there"),
        EOFError(),
        BrokenPipeError(),
        AssertionError(),
    ],
    ids=repr,
)
def test_a_lost_link_is_recognised_without_a_callback(error: BaseException) -> None:
    """With a dead bluetoothd, a failing call is all there is to see of the loss."""
    assert is_link_loss(error)


@pytest.mark.parametrize(
    "error",
    [
        BleakGATTProtocolError(0x03),
        dbus("org.bluez.Error.NotPermitted", "Not paired"),
        dbus(f"{BUS}.AccessDenied", "policy"),
        dbus("org.bluez.Error.InProgress", "In Progress"),
        TimeoutError(),
        KeyError("x"),
    ],
    ids=repr,
)
def test_a_refusal_is_no_lost_link(error: BaseException) -> None:
    """The recorder or BlueZ said no; the link is as it was."""
    assert not is_link_loss(error)


def test_want_of_pairing_is_recognised() -> None:
    """ATT's security errors and BlueZ's words for them; nothing else."""
    assert needs_pairing(BleakGATTProtocolError(0x05))
    assert needs_pairing(dbus("org.bluez.Error.NotPermitted", "Not paired"))
    assert not needs_pairing(BleakGATTProtocolError(0x03))
    assert not needs_pairing(dbus("org.bluez.Error.NotPermitted", "Notify not permitted"))


def test_services_that_were_moved_are_recognised() -> None:
    """ATT's answers from a wrong handle, and bleak's own loss of a path; not a recorder's own refusals."""
    assert is_out_of_place(BleakGATTProtocolError(0x01))
    assert is_out_of_place(KeyError("/org/bluez/hci0/dev_C0_FF_EE_00_00_01/service000a"))
    assert not is_out_of_place(BleakGATTProtocolError(0x80))
    assert not is_out_of_place(BleakGATTProtocolError(0x05))


@pytest.mark.parametrize("error", [TimeoutError(), EOFError(), AssertionError(), BleakError(), dbus(FAILED)], ids=repr)
def test_every_error_has_words(error: BaseException) -> None:
    """Many of bleak's errors are empty; the log and the operator still get words."""
    assert describe(error)
