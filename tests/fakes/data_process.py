"""One real process of a data worker, as staqraftd would start it, with the tests' configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.records import MAIL
from fakes.stream_pair import lab_config
from staqraft.config.schema import Tls
from staqraft.daemon import stream_worker, trees_worker
from staqraft.logs import setup
from staqraft.model import NodeId


def run(process: str, base: str, node: str, port: str, *keys: str) -> int:
    setup("info")
    ca, certificate, key = (Path(path) for path in keys)
    files = Tls(ca=ca, certificate=certificate, key=key)
    config = lab_config(Path(base), NodeId(node), int(port), files=files)
    if process == "trees":
        return trees_worker.main(config, MAIL)
    return stream_worker.main(config, MAIL)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
