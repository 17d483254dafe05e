"""`python stream_process.py BASE PORT PKI`: the standby `b` of a stream pair as a process.

Runs what staqraft-data runs, with the configuration that the tests' other end has.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fakes.pki import Pki
from fakes.records import LAB, MAIL
from fakes.stream_pair import B, lab_config
from staqraft.daemon.stream_worker import main


def run(base: Path, port: int, pki: Path) -> int:
    """Until SIGTERM; the exit code."""
    return main(lab_config(base, B, port, files=Pki(pki, LAB).node(B)), MAIL)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
