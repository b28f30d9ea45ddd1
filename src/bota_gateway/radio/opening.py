"""Opens the adapters that the settings name, whoever drives them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bota_gateway.config import RadioSettings
from bota_gateway.errors import AdapterError
from bota_gateway.radio.adapters import Adapter, discover_adapters

BUMBLE = "bumble:"
"""Names in ``radio.adapters`` that start so are controllers that this process drives itself, without BlueZ."""


@asynccontextmanager
async def open_adapters(settings: RadioSettings) -> AsyncIterator[list[Adapter]]:
    """The adapters to use while the block runs: BlueZ's, and those named ``bumble:TRANSPORT``.

    Raises:
        AdapterError: BlueZ can't be asked, a controller does not answer, or there is no adapter at all.
    """
    own = [name for name in settings.adapters if name.startswith(BUMBLE)]
    others = tuple(name for name in settings.adapters if name not in own)
    async with AsyncExitStack() as stack:
        adapters = [await stack.enter_async_context(driven(name)) for name in own]
        if others or not own:
            adapters += await discover_adapters(settings.model_copy(update={"adapters": others}))
        yield adapters


@asynccontextmanager
async def driven(name: str) -> AsyncIterator[Adapter]:
    """The adapter named ``bumble:TRANSPORT``, while the block runs.

    Raises:
        AdapterError: nothing answers there; or, out of the block and in a group, it went away.
    """
    try:
        from bota_gateway.radio.bumble_adapter import bumble_adapter  # noqa: PLC0415 - needs the extra "sim"
    except ModuleNotFoundError as missing:
        raise AdapterError(
            f"The adapter {name} needs {missing.name}, which is not installed.",
            remedy="Install it, in a clone of the project: pip install '.[sim]'",
        ) from None
    async with bumble_adapter(name, name.removeprefix(BUMBLE)) as adapter:
        yield adapter
