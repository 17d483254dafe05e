"""One process of a data worker in a torture: the ground's configuration, and a clock that steps."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

from fakes.data_process import watch_by
from fakes.records import MAIL
from staqraft.daemon import clock, stream_worker, trees_worker
from staqraft.logs import setup
from torture.shape import Shape

_OFFSET = struct.Struct("<q")


def run(process: str, base: str, node: str, port: str, *keys: str) -> int:
    setup("info")
    shape = Shape.from_json(json.loads((Path(base) / "shape.json").read_text()))
    offset = Path(base) / f"{node}.clock"

    def wall_ms() -> int:
        (ahead,) = _OFFSET.unpack(offset.read_bytes())
        return clock.wall_ms() + int(ahead)

    config = shape.config(Path(base), node, int(port), keys)
    if process == "trees":
        watch_by(shape.backends[node])
        setattr(trees_worker, "wall_ms", wall_ms)  # noqa: B010 - a name that it imported
        return trees_worker.main(config, MAIL)
    setattr(stream_worker, "wall_ms", wall_ms)  # noqa: B010
    return stream_worker.main(config, MAIL)


def set_clock(base: Path, node: str, ahead_ms: int) -> None:
    """The node's wall clock is ahead by so much from now on, for its processes."""
    number = os.open(base / f"{node}.clock", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(number, _OFFSET.pack(ahead_ms), 0)  # in one go: it is read at any time
    finally:
        os.close(number)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
