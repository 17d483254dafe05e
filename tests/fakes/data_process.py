"""One real process of a data worker, as staqraftd would start it, with the tests' configuration.

`journal.json` in the base directory, if it is there, has the bounds of the journal.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from fakes.records import MAIL
from fakes.stream_pair import lab_config
from staqraft.capture.fanotify_source import FanotifySource
from staqraft.capture.inotify_source import InotifySource
from staqraft.capture.watcher import Watcher
from staqraft.config.schema import Journal, Scrub, Tls
from staqraft.daemon import stream_worker, trees_worker
from staqraft.logs import setup
from staqraft.model import NodeId

SCRUB = "STAQRAFT_TEST_SCRUB_MS"


def run(process: str, base: str, node: str, port: str, *keys: str) -> int:
    setup("info")
    ca, certificate, key = (Path(path) for path in keys)
    files = Tls(ca=ca, certificate=certificate, key=key)
    if (Path(base) / node / "backend").exists():
        watch_by((Path(base) / node / "backend").read_text())
    bounds = Path(base) / "journal.json"
    limits = Journal(**json.loads(bounds.read_text())) if bounds.exists() else None
    config = lab_config(Path(base), NodeId(node), int(port), files=files, limits=limits)
    if (period := os.environ.get(SCRUB)) is not None:
        # Whatever else this machine does: its tests are not to wait for it.
        scrub = Scrub(period_ms=int(period), io_pressure=100)
        group = replace(config.groups[MAIL], scrub=scrub)
        config = replace(config, groups={MAIL: group})
    if process == "trees":
        return trees_worker.main(config, MAIL)
    return stream_worker.main(config, MAIL)


def watch_by(backend: str) -> None:
    """Leaves no choice of how trees are watched, which the product has no setting for."""
    only = {"fanotify": FanotifySource, "inotify": InotifySource}[backend]
    assert Watcher.__init__.__kwdefaults__ is not None
    Watcher.__init__.__kwdefaults__["backends"] = (only,)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
