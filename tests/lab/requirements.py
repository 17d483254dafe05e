"""What the lab needs of the machine, and in plain words what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lab.errors import MissingError

TOOLS = {  # program -> Debian package
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "mkfs.ext4": "e2fsprogs",
    "nginx": "nginx-light",
    "start-stop-daemon": "dpkg",
}
SBIN = "/usr/sbin:/sbin"
NAMESPACES = ("--mount", "--net", "--pid", "--uts", "--ipc", "--fork")


def search_path() -> str:
    """PATH with the administrators' directories, which an ordinary user's may lack."""
    return f"{os.environ.get('PATH', '')}:{SBIN}"


def missing_tools() -> list[str]:
    """A sentence for each program that is not installed."""
    return [
        f"{program} is not installed: apt-get install {package}"
        for program, package in TOOLS.items()
        if shutil.which(program, path=search_path()) is None
    ]


def _try_unshare(*extra: str) -> str | None:
    """None if namespaces can be made, else what the kernel said."""
    argv = ["unshare", *extra, *NAMESPACES, "true"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip()


def is_real_root() -> bool:
    """Root of the machine, not of a user namespace."""
    mapping = Path("/proc/self/uid_map").read_text(encoding="ascii").split()
    return os.geteuid() == 0 and mapping == ["0", "0", "4294967295"]


def loop_devices_work() -> bool:
    """Ext4 images can be mounted here."""
    return (
        is_real_root()
        and subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode == 0
    )


def check(*, may_use_user_namespace: bool = False) -> None:
    """Raises MissingError with everything that is missing, at once."""
    problems = missing_tools()
    if not problems:
        refusal = _try_unshare()
        if refusal is not None and may_use_user_namespace:
            refusal = _try_unshare("--user", "--map-root-user")
        if refusal is not None:
            problems.append(
                f"namespaces cannot be made here ({refusal}): run it as root, or allow user "
                "namespaces (sysctl kernel.unprivileged_userns_clone=1, "
                "user.max_user_namespaces>0, and on Ubuntu "
                "kernel.apparmor_restrict_unprivileged_userns=0); "
                "a container needs --privileged"
            )
        if (
            os.geteuid() == 0
            and Path("/proc/filesystems").read_text(encoding="ascii").find("overlay") < 0
        ):
            problems.append("the kernel has no overlay filesystem: modprobe overlay")
    if problems:
        raise MissingError(
            "the lab cannot be built on this machine:\n" + "\n".join(f"  - {p}" for p in problems)
        )
