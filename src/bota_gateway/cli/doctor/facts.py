"""What several checks need, each asked once however many of them wait for it; and the places where it is looked for."""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pydantic import SecretStr

from bota_gateway import config_loading
from bota_gateway.cloud import checkup
from bota_gateway.cloud.checkup import Checkup
from bota_gateway.config import RadioSettings, Settings, StatusSettings
from bota_gateway.daemon import clock
from bota_gateway.errors import AdapterError, ConfigError, StatusError
from bota_gateway.model import WallClock
from bota_gateway.radio.adapters import Adapter, KnownAdapter, ask_bluez
from bota_gateway.radio.opening import BUMBLE, open_adapters
from bota_gateway.status import client

T = TypeVar("T")

INSTALLED_KEY: Final = Path("/etc/bota-gateway/api-key")
"""Where the installer puts the key, and the service's unit takes it from as a credential."""
SERVICE_USER: Final = "bota-gateway"


@dataclass(frozen=True)
class Hub:
    """The machine that is looked at; tests lay out another one."""

    sys_root: Path = Path("/sys")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    installed_key: Path = INSTALLED_KEY
    service_user: str = SERVICE_USER
    now: WallClock = time.time
    clock_is_trusted: Callable[[], bool] = clock.is_trusted
    adapters: Sequence[Adapter] | None = None
    """To scan with; None for those of the settings."""


@dataclass(frozen=True)
class Key:
    """The project's key as found."""

    secret: SecretStr | None
    """None with an error; and without one where it is closed to this user, which is as it should be."""
    where: str
    error: ConfigError | None = None


class Facts:
    """An async context manager: what it still asks at the end is cancelled.

    Args:
        settings: The configuration, or why it can't be used.
        hub: The machine.
        socket: The daemon's socket, where it is not the configuration's.
        scan: Whether recorders may be listened for when no gateway runs.
    """

    def __init__(
        self, settings: Settings | ConfigError, hub: Hub, *, socket: Path | None = None, scan: bool = False
    ) -> None:
        self.config_error = settings if isinstance(settings, ConfigError) else None
        self.settings = None if isinstance(settings, ConfigError) else settings
        self.hub = hub
        self.scan = scan
        self.socket = socket or (self.settings.status if self.settings else StatusSettings()).socket
        self._asked: dict[str, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)

    @property
    def usable(self) -> Settings:
        """The configuration, for checks that need one that can be used.

        Raises:
            ConfigError: it can't.
        """
        if self.config_error is not None:
            raise self.config_error
        assert self.settings is not None  # noqa: S101 - one of the two is there
        return self.settings

    @property
    def radio(self) -> RadioSettings:
        """The ``[radio]`` section; its defaults while the configuration can't be used."""
        return self.settings.radio if self.settings else RadioSettings()

    def adapters(self) -> AbstractAsyncContextManager[Sequence[Adapter]]:
        """Adapters to scan with, open inside the block. May raise ``AdapterError``."""
        return open_adapters(self.radio) if self.hub.adapters is None else nullcontext(self.hub.adapters)

    @property
    def without_bluez(self) -> bool:
        """Whether every adapter in use is one that this program drives itself."""
        return bool(self.radio.adapters) and all(name.startswith(BUMBLE) for name in self.radio.adapters)

    async def ask(self, question: str, **arguments: object) -> Any:
        """Ask the running gateway.

        Raises:
            StatusError: it does not answer, or refuses.
        """
        return await in_thread(lambda: client.ask(self.socket, question, **arguments))

    async def status(self) -> dict[str, Any] | StatusError:
        """What the running gateway says of itself, or why none does."""
        return await self._once("status", self._answer("status"))

    async def recordings(self) -> list[dict[str, Any]] | StatusError:
        """Those in the running gateway's custody."""
        return await self._once("recordings", self._answer("recordings", state="open"))

    async def bluez(self) -> list[KnownAdapter] | AdapterError:
        """The adapters that BlueZ has, or why it can't be asked."""
        return await self._once("bluez", _bluez())

    async def key(self) -> Key:
        """The project's key; with a usable configuration only."""
        return await self._once("key", in_thread(self._find_key))

    async def cloud(self) -> Checkup:
        """How the cloud looks from here; with a usable configuration only."""
        return await self._once("cloud", self._check_up())

    async def _once(self, name: str, question: Coroutine[Any, Any, T]) -> T:
        if name in self._asked:
            question.close()
        else:
            self._asked[name] = asyncio.create_task(question, name=name)
        # Whoever waits may give up; the others wait on.
        answer: T = await asyncio.shield(self._asked[name])
        return answer

    async def _answer(self, question: str, **arguments: object) -> Any:
        try:
            return await self.ask(question, **arguments)
        except StatusError as error:
            return error

    async def _check_up(self) -> Checkup:
        settings = self.usable
        key = await self.key()
        return await checkup.check_up(settings.cloud, key.secret, self.hub.now)

    def _find_key(self) -> Key:
        """As the service finds it: the installed file is its credential; else as the settings and environment say."""
        settings, installed = self.usable, self.hub.installed_key
        as_credential = bool(self.hub.environ.get("CREDENTIALS_DIRECTORY"))
        if not as_credential and _state(installed) is not _File.MISSING:
            only = {"api_key": None, "api_key_file": installed}
            settings = settings.model_copy(update={"cloud": settings.cloud.model_copy(update=only)})
        file = None if as_credential or settings.cloud.api_key is not None else settings.cloud.api_key_file
        if file is not None and _state(file) is _File.CLOSED:
            return Key(None, str(file))
        where = "a systemd credential" if as_credential else str(file or "the environment or the configuration")
        try:
            return Key(config_loading.api_key(settings, self.hub.environ), where)
        except ConfigError as error:
            return Key(None, where, error)


class _File(Enum):
    """Whether this user may read it."""

    MISSING = auto()
    CLOSED = auto()
    OPEN = auto()


def _state(path: Path) -> _File:
    try:
        path.open("rb").close()
    except PermissionError:
        return _File.CLOSED
    except OSError:
        return _File.MISSING
    return _File.OPEN


async def _bluez() -> list[KnownAdapter] | AdapterError:
    try:
        return await ask_bluez()
    except AdapterError as error:
        return error


async def in_thread(work: Callable[[], T]) -> T:
    """Run it in a thread that nobody waits for once they have given up: a dying disk may hold it for ever.

    ``asyncio.to_thread`` is no choice: the process could not end before its threads do.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type] # without an error there is a result

    def run() -> None:
        result, failed = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:
            return  # the loop has ended; nobody waits

    threading.Thread(target=run, daemon=True).start()
    return await answer
