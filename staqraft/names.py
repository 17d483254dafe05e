"""How clusters, nodes, groups and people are named, in files, in DNS form and in certificates.

A name is a lower-case DNS label, because it becomes part of a TLS host name, of paths and of
metric labels. Certificates carry the identity as a URI, `staqraft://<cluster>/<node>` for a node
and `staqraft://<cluster>/admin/<name>` for a person; a node's name has no slash, so neither can
pass for the other.
"""

from __future__ import annotations

import re

MAX_NAME = 32
NAME_RULE = (
    f"up to {MAX_NAME} lower-case letters, digits and hyphens, beginning with a letter"
    " and not ending with a hyphen"
)

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_RESERVED = frozenset({"ca", "admin"})  # ca.pem lies beside the nodes' files; admin/ is for people


def is_name(text: str) -> bool:
    """Whether `text` may name a cluster, group, tree, ring, service or person."""
    return _NAME.fullmatch(text) is not None


def is_node_name(text: str) -> bool:
    """Whether `text` may name a node: a name that means nothing else beside certificates."""
    return is_name(text) and text not in _RESERVED


def node_uri(cluster: str, node: str) -> str:
    """The identity in a node's certificate."""
    return f"staqraft://{cluster}/{node}"


def admin_uri(cluster: str, name: str) -> str:
    """The identity in a person's certificate."""
    return f"staqraft://{cluster}/admin/{name}"


def tls_name(cluster: str, node: str) -> str:
    """The host name that a client expects in `node`'s certificate, whatever address it dials."""
    return f"{node}.{cluster}.staqraft"


def cluster_of(host_name: str) -> str:
    """The cluster in a `tls_name`; "" when it is none."""
    match host_name.split("."):
        case [_, cluster, "staqraft"]:
            return cluster
        case _:
            return ""
