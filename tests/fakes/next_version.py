"""staqraftd of the next release: it knows one format more, and says so. For tests of upgrades.

python -m fakes.next_version --config FILE
"""

from __future__ import annotations

import sys

import staqraft
from staqraft.consensus import versions

VERSION = "99.0"


def main() -> int:
    staqraft.__version__ = VERSION  # before anything takes a copy of it
    versions.FORMAT += 1
    from staqraft.cli.staqraftd import main as staqraftd  # noqa: PLC0415

    return staqraftd()


if __name__ == "__main__":
    sys.exit(main())
