"""What is on disk about a lab: its directory, and a small file with the pids of its inits."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab import linux
from lab.errors import LabError


def default_directory() -> Path:
    """$STAQRAFT_LAB_DIR, else one of the user's own."""
    named = os.environ.get("STAQRAFT_LAB_DIR")
    if named:
        return Path(named)
    if os.access("/run", os.W_OK):
        return Path("/run/staqraft-lab")
    return (
        Path(os.environ.get("XDG_RUNTIME_DIR", tempfile.gettempdir()))
        / f"staqraft-lab-{os.getuid()}"
    )


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is still the one that was started: pid and start time."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """Raises LabError when it is gone already."""
        started = linux.start_ticks(pid)
        if started is None:
            raise LabError(f"process {pid} ended as soon as it was started")
        return cls(pid, started)

    @property
    def alive(self) -> bool:
        return linux.start_ticks(self.pid) == self.started


@dataclass(slots=True, kw_only=True)
class State:
    """A lab as its directory remembers it."""

    switch: Process
    disks: str  # where images or tmpfs are
    images: bool  # ext4 images on loop devices; else tmpfs
    profile: str = "default"  # the timing that the cluster gets: see layout.PROFILES
    witness: bool = True  # else there are two replicas and the client only
    apart: bool = False  # journal and Raft have volumes of their own
    strip: Process | None = None  # see lab.strip
    inits: dict[str, Process] = field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Replaces the file at once."""
        temporary = directory / ".lab.json"
        temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        temporary.rename(directory / "lab.json")

    @classmethod
    def load(cls, directory: Path) -> State | None:
        """None if there is no lab there."""
        try:
            text = json.loads((directory / "lab.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(
            switch=Process(**text["switch"]),
            disks=text["disks"],
            images=text["images"],
            profile=text.get("profile", "default"),
            witness=text.get("witness", True),
            apart=text.get("apart", False),
            strip=Process(**text["strip"]) if text.get("strip") else None,
            inits={name: Process(**process) for name, process in text["inits"].items()},
        )
