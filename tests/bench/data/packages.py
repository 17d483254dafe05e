"""Peers come from Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

from bench.data.hosts import PATH
from lab.errors import MissingError


def install(packages: Iterable[str]) -> None:
    """Installs those whose program of the same name is missing. MissingError where that fails."""
    missing = sorted({name for name in packages if name and not shutil.which(name, path=PATH)})
    if not missing:
        return
    print(f"bench: installing Debian packages: {' '.join(missing)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
    for argv in (
        ["apt-get", "-q", "update"],
        ["apt-get", "-q", "install", "-y", "--no-install-recommends", *missing],
    ):
        try:
            done = subprocess.run(
                argv, env=environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise MissingError(f"install these yourself: {' '.join(missing)}") from error
        if done.returncode != 0:
            raise MissingError(f"{' '.join(argv)} failed: {done.stderr.strip()[-500:]}")
