"""Until when the certificates of this node are valid, for the metrics."""

from __future__ import annotations

import asyncio
from typing import Final

from staqraft.config.schema import Tls
from staqraft.config.tls import expiries
from staqraft.metrics import NodeMetrics

LOOK_S: Final = 600.0  # the files may be replaced


async def watch_certificates(files: Tls, metrics: NodeMetrics) -> None:
    """Reads them again and again until cancelled."""
    while True:
        metrics.certificates(await asyncio.to_thread(expiries, files))
        await asyncio.sleep(LOOK_S)
