"""Statuses as a daemon gives them, for tests of what is made of them."""

from __future__ import annotations

from staqraft.wire.v1 import admin_pb2, data_worker_pb2, types_pb2


def position(epoch: int, seq: int) -> types_pb2.Position:
    return types_pb2.Position(epoch=epoch, seq=seq)


def healthy_status() -> admin_pb2.GetStatusResponse:
    """Of node a, active in a pair with a witness in which all is well. Change it at will."""
    return admin_pb2.GetStatusResponse(
        cluster="lab",
        node="a",
        version="0.1.0",
        nodes=[
            admin_pb2.NodeStatus(node="a", role="replica", reachable=True, version="0.1.0"),
            admin_pb2.NodeStatus(node="b", role="replica", reachable=True, version="0.1.0"),
            admin_pb2.NodeStatus(node="w", role="witness", reachable=True, version="0.1.0"),
        ],
        raft=admin_pb2.RaftStatus(
            leader="b", term=3, commit_index=900, applied_index=900, has_quorum=True
        ),
        groups=[
            admin_pb2.GroupStatus(
                group="default",
                epoch=5,
                active="a",
                phase="active",
                in_sync=["a", "b"],
                lease_left_ms=2710,
                summary="a is active and b is in sync",
                vips=[admin_pb2.VipStatus(address="192.0.2.10/24", interface="lan0", held=True)],
                services=[admin_pb2.ServiceStatus(name="nginx", state="running")],
                trees=data_worker_pb2.GetTreesStatusResponse(
                    role=data_worker_pb2.WORKER_ROLE_ACTIVE,
                    trees=[
                        data_worker_pb2.TreeStatus(
                            tree="web", path="/srv/www", objects=3012, bytes=50_540_000
                        )
                    ],
                ),
                stream=data_worker_pb2.GetStreamStatusResponse(
                    first=position(1, 1),
                    last=position(5, 3012),
                    journal_bytes=12 << 20,
                    peers=[
                        data_worker_pb2.PeerSession(
                            node="b",
                            state=data_worker_pb2.SESSION_STATE_STREAMING,
                            durable=position(5, 3012),
                            applied=position(5, 3012),
                            ring="sync",
                            heard_ms_ago=40,
                        )
                    ],
                ),
                last_fence="lease",
            )
        ],
    )
