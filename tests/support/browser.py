"""Where the browser of the tests is, and how it is started: headless, and without asking anybody outside."""

import os
import shutil
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LAUNCH: Final[dict[str, Any]] = {
    "executable_path": CHROMIUM,
    "chromium_sandbox": os.geteuid() != 0,  # which refuses to run as root
    "args": [
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ],
}
