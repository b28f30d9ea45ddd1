"""The emulated cloud as a whole: two servers on loopback, one state behind them."""

import asyncio
import tempfile
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from aiohttp import web
from botocore.credentials import Credentials

from bota_gateway.model import WallClock
from bota_gateway.sim.cloud import const, persistence
from bota_gateway.sim.cloud.api import ApiServer
from bota_gateway.sim.cloud.call import Route
from bota_gateway.sim.cloud.control import Control
from bota_gateway.sim.cloud.counters import Counters
from bota_gateway.sim.cloud.devices import DeviceRoutes
from bota_gateway.sim.cloud.faults import CloudFaults
from bota_gateway.sim.cloud.idempotency import Idempotency
from bota_gateway.sim.cloud.objects import ObjectStore
from bota_gateway.sim.cloud.options import ApiProfile, CloudOptions, IdempotencyMode
from bota_gateway.sim.cloud.presigned import PresignedUrls
from bota_gateway.sim.cloud.recordings import RecordingRoutes
from bota_gateway.sim.cloud.s3 import S3Server
from bota_gateway.sim.cloud.uploads import Bucket, UploadRoutes
from bota_gateway.sim.cloud.world import HOME_PROJECT, Devices, Key, Recording, World

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"


class EmulatedCloud:
    """The Bota API and its bucket, on this machine.

    ::

        async with EmulatedCloud(profile="e", seed=7) as cloud:
            cloud.devices.register("BP-0001")
            ...  # a client with cloud.api_base, cloud.api_key, cloud.s3_host
            cloud.faults.add("POST /recordings", LostAfterCommit())
            assert cloud.counters.creates["..."] == 1

    Args:
        profile: generation of the contract: ``d1``, ``d2`` or ``e``.
        seed: makes ids, keys and faults the same in every run.
        options: everything else; ``CloudOptions`` has the defaults.
        now: wall clock of the cloud: expiry, rate windows, timestamps.
    """

    def __init__(
        self,
        profile: ApiProfile | str = ApiProfile.E,
        *,
        seed: int = 0,
        options: CloudOptions | None = None,
        now: WallClock = time.time,
    ) -> None:
        self.profile = ApiProfile(profile)
        self.options = options or CloudOptions()
        self.faults = CloudFaults(seed)
        self.counters = Counters()
        self.world = World(self.options, seed, now)
        self.urls = PresignedUrls(
            Credentials(access_key="SIMACCESSKEY", secret_key=f"sim-secret-of-seed-{seed}"), self.options.region, now
        )
        """Signs for the bucket, as the API does."""
        self._now = now
        self._stack = AsyncExitStack()
        self._stopping = asyncio.Event()
        self._api_port = 0
        self._s3_port = 0
        self._objects: ObjectStore | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            directory = self.options.directory or Path(stack.enter_context(tempfile.TemporaryDirectory("-bota-sim")))
            directory.mkdir(parents=True, exist_ok=True)
            self._objects = ObjectStore(directory / "objects", self._now)
            persistence.load(directory, self.world, self._objects)
            self._stopping.clear()
            # S3 first: the API's upload URLs name its port.
            self._s3_port = await self._serve(stack, self._s3_app(), self.options.s3_port)
            self._api_port = await self._serve(stack, self._api_app(), self.options.api_port)
            self._save()
            self._stack = stack.pop_all()
        log.info("sim_cloud_started", api_base=self.api_base, s3_host=self.s3_host, profile=self.profile.value)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        await self._stack.aclose()
        self._save()  # last: a call that was still under way may have changed something
        log.info("sim_cloud_stopped")

    @property
    def api_base(self) -> str:
        """What a client configures as ``cloud.api_base``."""
        return f"http://{LOOPBACK}:{self._api_port}/v1"

    @property
    def control_base(self) -> str:
        """Where another process steers the emulator; see ``control``."""
        return f"http://{LOOPBACK}:{self._api_port}/_sim"

    @property
    def s3_host(self) -> str:
        """``host:port`` that upload URLs lead to."""
        return f"{LOOPBACK}:{self._s3_port}"

    @property
    def bucket_url(self) -> str:
        """Of the bucket, without trailing slash; objects are ``bucket_url/key``."""
        return f"http://{self.s3_host}/{self.options.bucket}"

    @property
    def api_key(self) -> str:
        """The project's secret key."""
        return self.world.home_key

    @property
    def devices(self) -> Devices:
        """Registered recorders."""
        return self.world.devices

    @property
    def recordings(self) -> dict[str, Recording]:
        """Recordings by id."""
        return self.world.recordings

    @property
    def objects(self) -> ObjectStore:
        """The bucket; ``object_path`` asks by recording."""
        if self._objects is None:
            raise RuntimeError("the emulated cloud was never started")
        return self._objects

    def add_key(self, secret: str, *, scopes: Collection[str] | None = None, project: str = HOME_PROJECT) -> Key:
        """Makes another key known: restricted with ``scopes``, or of another project."""
        return self.world.add_key(secret, scopes=scopes, project=project)

    def object_path(self, recording_id: str) -> Path | None:
        """The file with a recording's newest stored bytes; None when nothing is stored."""
        stored = [self.objects.get(upload.key) for upload in self.recordings[recording_id].uploads]
        newest = max((found for found in stored if found is not None), key=lambda found: found.version, default=None)
        return None if newest is None else self.objects.path(newest.key)

    async def _serve(self, stack: AsyncExitStack, app: web.Application, port: int) -> int:
        app.on_response_prepare.append(self._stamp)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=const.SHUTDOWN_S,
            auto_decompress=False,  # S3 stores what was sent, whatever its Content-Encoding
        )
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        return await self._listen(runner, port)

    async def _listen(self, runner: web.AppRunner, port: int) -> int:
        """Make a server reachable; gives back its port. In one method, so that tests can do without sockets."""
        await web.TCPSite(runner, LOOPBACK, port).start()
        return int(runner.addresses[0][1])

    async def _stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Answers carry the emulator's time, not the machine's: clients judge a URL's expiry by it."""
        response.headers["Date"] = formatdate(self._now(), usegmt=True)

    def _s3_app(self) -> web.Application:
        server = S3Server(
            self.objects, self.urls, self.faults, self.counters, self.options, self._now, self._stopping, self._save
        )
        return server.app()

    def _api_app(self) -> web.Application:
        idempotency = Idempotency(self._idempotency_mode(), self.options.idempotency_delay_s, self._now)
        server = ApiServer(
            self.world, self.faults, self.counters, idempotency, self.options, self._stopping, self._save
        )
        app = server.app(self._routes())
        Control(self.world, self.objects, self.faults, self.counters, self._save).add_to(app)
        return app

    def _routes(self) -> list[Route]:
        devices = DeviceRoutes(self.world, self.profile, self.options)
        recordings = RecordingRoutes(self.world, self.objects, self.counters, devices, self.profile, self.options)
        bucket = Bucket(self.bucket_url, self.urls)
        uploads = UploadRoutes(self.world, self.objects, self.counters, recordings, bucket, self.profile, self.options)
        return [*devices.routes(), *recordings.routes(), *uploads.routes()]

    def _idempotency_mode(self) -> IdempotencyMode:
        if self.options.idempotency is not None:
            return IdempotencyMode(self.options.idempotency)  # whoever gives its word means the member
        return IdempotencyMode.DELAYED if self.profile is ApiProfile.E else IdempotencyMode.STRICT

    def _save(self) -> None:
        """Only an emulator with a directory of its own has something to keep."""
        if self.options.directory is not None:
            persistence.save(self.options.directory, self.world, self.objects)
