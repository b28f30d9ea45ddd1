"""Memory of the daemon while a long recording goes through it, as it is: a process of its own, beside simulators.

The recording is pulled over GATT, spooled, uploaded, verified and confirmed. What counts is the difference between the
daemon's resident memory once it has met the recorder and its highest value from then on, as the kernel keeps it. Run by
scripts/bench memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

MIB = 1 << 20
SERIAL = "BENCH00000000001"
COMMAND = Path(sys.executable).with_name("bota-gateway")
LIMIT = 20 * MIB  # how much more than idle is allowed
RATE_KB_S = 5000  # more than the simulated radio can do between processes


@contextmanager
def started(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the product, ended with the block."""
    with subprocess.Popen(
        [COMMAND, *arguments], env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()  # it must not wait for a reader


def heard(process: subprocess.Popen[str], wanted: str) -> str:
    """The next line with ``wanted`` in it."""
    for line in process.stdout or ():
        if wanted in line:
            return line
    sys.exit(f"process {process.pid} ended without {wanted!r}")


def resident(pid: int, kind: str) -> int:
    """Bytes of memory of a process: VmRSS now, VmHWM at most since the last `restart_peak` (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return int(line.split()[1]) << 10
    raise LookupError(kind)


def restart_peak(pid: int) -> None:
    """Let VmHWM count from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def measure(directory: Path, size: int) -> bool:
    """Send ``size`` bytes through the daemon and print what it took; whether it stayed within the limit."""
    with ExitStack() as stack:
        cloud = stack.enter_context(started("sim", "cloud", "--json", "--register", SERIAL))
        where = json.loads(heard(cloud, '"control"'))
        recorder = ("--serial", SERIAL, "--bytes", str(size), "--rate", str(RATE_KB_S))
        transport = f"virtual:unix-server:{directory}/hci"
        heard(stack.enter_context(started("sim", "recorder", "--transport", transport, *recorder)), "on the air")
        config = directory / "config.toml"
        config.write_text(
            f"[cloud]\napi_base = '{where['api_base']}'\ns3_hosts = ['{where['s3_host']}']\n"
            f"[spool]\ndirectory = '{directory}/spool'\nmin_free_bytes = 0\n[log]\nformat = 'json'\n"
            f"[radio]\nadapters = ['bumble:unix-client:{directory}/hci']\n[status]\nsocket = '{directory}/status'\n"
        )
        hub = stack.enter_context(started("run", "--config", str(config), BOTA_GATEWAY_CLOUD__API_KEY=where["api_key"]))
        heard(hub, "recorder_verified")
        idle = resident(hub.pid, "VmRSS")
        restart_peak(hub.pid)
        begun = time.perf_counter()
        peaks = {}
        for phase, event in {"pulled": "recording_captured", "uploaded": "upload_sent"}.items():
            heard(hub, f'"{event}"')
            peaks[phase] = resident(hub.pid, "VmHWM") - idle
        heard(hub, "recording_deletion_seen")
        took = time.perf_counter() - begun
        growth = resident(hub.pid, "VmHWM") - idle
    steps = ", ".join(f"{peak / MIB:.1f} when {phase}" for phase, peak in peaks.items())
    print(
        f"memory: {idle / MIB:.1f} MiB idle, {growth / MIB:.1f} more at most while {size / MIB:.0f} MiB pass in "
        f"{took:.0f} s ({steps}); target {LIMIT / MIB:.0f}{'' if growth <= LIMIT else '   missed'}\n",
        flush=True,
    )
    return growth <= LIMIT


def main() -> None:
    """Measure; exit 1 when it is too much."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", maxsplit=1)[0])
    parser.add_argument("--mib", type=int, default=64, help="size of the recording")
    parser.add_argument("--directory", type=Path, default=Path(".cache"), help="on the disk to use")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.directory, prefix="bench-") as scratch:
        sys.exit(not measure(Path(scratch), asked.mib * MIB))


main()
