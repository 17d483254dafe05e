"""A cluster's certificates for tests, made once a process: EC keys, a millisecond each."""

from __future__ import annotations

import functools
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

from staqraft import certs
from staqraft.config.schema import Tls

NODES = ("a", "b", "w")


@dataclass(frozen=True)
class Pki:
    """The authority's directory, with certificates of the nodes and of the administrator `lea`."""

    directory: Path
    cluster: str

    def node(self, name: str) -> Tls:
        """The files of node `name`, issued now if it is new."""
        if not (self.directory / f"{name}.pem").exists():
            certs.issue(self.directory, name)
        return self._files(name)

    def admin(self, name: str = "lea") -> Tls:
        """The files of an administrator, issued now if the name is new."""
        if not (self.directory / f"{name}.admin.pem").exists():
            certs.issue_admin(self.directory, name)
        return self._files(f"{name}.admin")

    def copy_to(self, directory: Path) -> Pki:
        """The same certificates in a directory of the caller's own, to be changed or damaged."""
        shutil.copytree(self.directory, directory)
        return Pki(directory, self.cluster)

    def _files(self, stem: str) -> Tls:
        return Tls(
            ca=self.directory / "ca.pem",
            certificate=self.directory / f"{stem}.pem",
            key=self.directory / f"{stem}.key",
        )


@functools.cache
def cluster_pki(cluster: str = "lab") -> Pki:
    """The certificates of `cluster`, shared by all tests of this process; read only."""
    pki = new_pki(Path(tempfile.mkdtemp(prefix="staqraft-pki-")), cluster)
    weakref.finalize(pki, shutil.rmtree, pki.directory, ignore_errors=True)
    return pki


def new_pki(directory: Path, cluster: str = "lab", nodes: tuple[str, ...] = NODES) -> Pki:
    """A new authority in `directory`, with certificates of `nodes` and of `lea`."""
    certs.init(directory, cluster)
    for node in nodes:
        certs.issue(directory, node)
    certs.issue_admin(directory, "lea")
    return Pki(directory, cluster)
