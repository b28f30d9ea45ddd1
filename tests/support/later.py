"""``bota-gateway`` an hour later: ``python -m support.later run --config FILE``.

Waits that an earlier life wrote down are over by the hub's clock, so that nobody has to sit through them. What is
counted in the server's time does not follow that clock: the one such wait is made short instead.
"""

import time
from functools import partial
from typing import Final

AHEAD_S: Final = 3600.0
"""Longer than any wait that a few kills lead to, and far from the days that count for the retention."""
REPEAT_CREATE_S: Final = 5.0
"""Until a create whose answer a kill cut off is repeated: what the emulated cloud was sent it has done by then."""

if __name__ == "__main__":
    at_present = time.time
    time.time = lambda: at_present() + AHEAD_S

    # Only now, because these bind the clock.
    from bota_gateway.cli.main import main
    from bota_gateway.daemon import gateway
    from bota_gateway.upload import Uploader
    from bota_gateway.upload.const import Timing

    vars(gateway)["Uploader"] = partial(Uploader, timing=Timing(repeat_create_s=REPEAT_CREATE_S))
    main()
