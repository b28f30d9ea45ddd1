"""The emulated cloud with a plain client beside it: no retries, no opinions, every answer as it came."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from bota_gateway.sim.cloud import ApiProfile, CloudOptions, EmulatedCloud

SERIAL = "BP000001"
AUDIO = b"OggS" + bytes(range(256)) * 40
START = 1_800_000_000.0
"""Where a test's clock starts; a whole minute, so that fixed rate windows begin here."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Clock:
    """A wall clock that stands still until a test turns it."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        """Unix seconds."""
        return self.at

    def advance(self, seconds: float) -> None:
        """Turns the clock; backwards too."""
        self.at += seconds


class Client:
    """Speaks to one emulated cloud as its profile wants to be spoken to."""

    def __init__(self, cloud: EmulatedCloud, http: httpx.AsyncClient) -> None:
        self.cloud = cloud
        self.http = http
        self.device = cloud.devices.register(SERIAL)

    async def call(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """One call, with the project's key unless another is given; ``Idempotency_Key=`` sets such a header."""
        authorization = {"Authorization": f"Bearer {key or self.cloud.api_key}"}
        return await self.http.request(
            method, self.cloud.api_base + path, json=body, headers=authorization | _dashed(headers)
        )

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """POST with the project's key."""
        return await self.call("POST", path, body, **headers)

    async def get(self, path: str) -> httpx.Response:
        """GET with the project's key."""
        return await self.call("GET", path)

    def new_recording(self, capture_key: str = "capture-1") -> dict[str, Any]:
        """A create body that every profile accepts."""
        return {
            "device_id": self.device.id,
            "end_user_id": self.device.end_user_id,
            "metadata": {"capture_key": capture_key},
        }

    async def create(self, capture_key: str = "capture-1") -> str:
        """Makes a recording and returns its id."""
        answer = await self.post("/recordings", self.new_recording(capture_key))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def upload_url(self, recording: str) -> dict[str, Any]:
        """The whole answer of upload-url."""
        body = {"content_type": "audio/ogg", "file_size_bytes": len(AUDIO)}
        if self.cloud.profile is ApiProfile.D2:
            body["type"] = "audio"
        answer = await self.post(f"/recordings/{recording}/upload-url", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def put(self, url: str, body: bytes = AUDIO, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """PUTs to S3; no credentials."""
        return await self.http.put(url, content=body, headers=headers or {"Content-Type": "audio/ogg"})

    async def complete(self, recording: str, body: bytes | None = AUDIO, **more: Any) -> httpx.Response:
        """Completes with the digest of ``body``; None declares none."""
        said = {} if body is None else {"content_sha256": sha256(body)}
        return await self.post(f"/recordings/{recording}/upload-complete", said | more)

    async def upload(self, capture_key: str = "capture-1", body: bytes = AUDIO) -> str:
        """Everything up to the completion, which is left to the caller."""
        recording = await self.create(capture_key)
        answer = await self.put((await self.upload_url(recording))["upload_url"], body)
        assert answer.status_code == 200, answer.text
        return recording


@asynccontextmanager
async def emulated(
    profile: str = "e", *, clock: Clock | None = None, seed: int = 1, **options: Any
) -> AsyncIterator[Client]:
    """A running emulator with one registered, bound recorder."""
    settings = CloudOptions(**options)
    async with (
        EmulatedCloud(profile, seed=seed, options=settings, now=clock or Clock()) as cloud,
        httpx.AsyncClient(timeout=10, trust_env=False) as http,
    ):
        yield Client(cloud, http)


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
