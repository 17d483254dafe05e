"""A second group of the lab's cluster: tree, addresses and nginx of its own, first active on b."""

from __future__ import annotations

from typing import Any, Final

from lab import nginx
from lab.layout import PREFIX, VIP_INTERFACE

GROUP: Final = "sites"
VIP: Final = f"{PREFIX}.0.101"
VIP6: Final = "fd77::101"
TREE: Final = "/srv/sites"
PORT: Final = 8080
CONFIGURATION: Final = "/etc/staqraft/sites.conf"
_PIDFILE: Final = "/run/sites.pid"

NGINX: Final = (
    nginx.TEXT.replace("/run/nginx", "/run/sites")
    .replace("0.0.0.0:80 ", f"0.0.0.0:{PORT} ")
    .replace("/srv/www", TREE)
    .replace("staqraft/nginx.log", "staqraft/sites.log")
)


def _of_ours(words: list[str]) -> list[str]:
    ours = {nginx.PIDFILE: _PIDFILE, nginx.CONFIGURATION: CONFIGURATION}
    return [ours.get(word, word) for word in words]


def group(**more: Any) -> dict[str, Any]:
    """What staqraft.yaml says of it, and `more`."""
    return {
        "initial_active": "b",
        "trees": {"sites": {"path": TREE, "profile": "web"}},
        "vips": [
            {"address": f"{VIP}/24", "interface": VIP_INTERFACE},
            {"address": f"{VIP6}/64", "interface": VIP_INTERFACE},
        ],
        "services": {
            "sites": {
                "start": _of_ours(nginx.START),
                "stop": _of_ours(nginx.STOP),
                "check": _of_ours(nginx.CHECK),
                "start_timeout": "5s",
                "stop_timeout": "5s",
            }
        },
        **more,
    }
