"""What staqctl does for each command; each returns the exit code."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from staqraft import certs
from staqraft.api.admin import BARRIER_DEFAULT_MS, SWITCH_OVER_DEFAULT_MS
from staqraft.api.many import CLUSTER_KEY
from staqraft.cli import rendering
from staqraft.cli.concerns import concerns
from staqraft.cli.connection import connected
from staqraft.errors import ActionError, ConfigError
from staqraft.wire.v1 import admin_pb2, admin_pb2_grpc, data_admin_pb2, data_admin_pb2_grpc

OK = 0
ATTENTION = 1  # status: answered, and something is wrong
STATUS_S = 5.0
NOTIFY_S = 310.0  # each receiver has its own time limit, 5 min at most
FORCE_S = 15.0
RESYNC_S = 75.0
SLACK_S = 3.0  # for the way; the daemon keeps the time-out itself

Print = Callable[[str], None]


def to_json(message: Message) -> str:
    """One line, names as in proto/, every field."""
    content = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(content)


def show(line: str) -> None:
    """Prints a line at once, so that a pipe sees progress."""
    print(line, flush=True)


async def status(options: Namespace) -> int:
    """The cluster as the daemon sees it."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: admin_pb2.GetStatusResponse = await stub.GetStatus(
            admin_pb2.GetStatusRequest(), timeout=STATUS_S, metadata=about(options)
        )
    show(to_json(response) if options.json else rendering.render_status(response))
    return ATTENTION if concerns(response) else OK


async def clusters(options: Namespace) -> int:
    """The clusters of a witness for many."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.WitnessServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        try:
            response: admin_pb2.ListClustersResponse = await stub.ListClusters(
                admin_pb2.ListClustersRequest(), timeout=STATUS_S
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            raise ConfigError(
                ["this is no witness for many clusters: 'staqctl status' is about its only one"]
            ) from error
    show(to_json(response) if options.json else rendering.render_clusters(response))
    good = not response.problems and all(
        cluster.served and cluster.raft.has_quorum and not cluster.problems
        for cluster in response.clusters
    )
    return OK if good else ATTENTION


def about(options: Namespace) -> tuple[tuple[str, str], ...]:
    """For a witness of many clusters: the one that the call is about."""
    return ((CLUSTER_KEY, options.of_cluster),) if options.of_cluster else ()


async def barrier(options: Namespace) -> int:
    """Waits until everything written before is durable on every in-sync replica."""
    timeout_ms = options.timeout or BARRIER_DEFAULT_MS
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: admin_pb2.BarrierResponse = await stub.Barrier(
            admin_pb2.BarrierRequest(
                group=options.group,
                timeout_ms=timeout_ms,
                min_replicas=options.min_replicas,
                anywhere=options.anywhere,
            ),
            timeout=timeout_ms / 1000 + SLACK_S,
            metadata=about(options),
        )
    show(to_json(response) if options.json else rendering.render_barrier(response))
    return OK


async def switchover(options: Namespace) -> int:
    """Hands a group over; shows each step."""
    timeout_ms = options.timeout or SWITCH_OVER_DEFAULT_MS
    succeeded = False
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.SwitchOverRequest(
            group=options.group,
            target=options.to,
            reason=options.reason,
            timeout_ms=timeout_ms,
            requested_by=me(),
            dry_run=options.dry_run,
            at_ms=options.at,
            cancel=options.cancel,
        )
        plain = bool(options.dry_run or options.at or options.cancel)  # nothing is done just now
        step: admin_pb2.SwitchOverResponse
        timeout_s = timeout_ms / 1000 + SLACK_S
        async for step in stub.SwitchOver(request, timeout=timeout_s, metadata=about(options)):
            show(to_json(step) if options.json else rendering.render_step(step, plain=plain))
            succeeded = step.done and step.succeeded
    return OK if succeeded else ActionError.exit_code


async def fence(options: Namespace) -> int:
    """Has a replica turned off, or vouches that it is off."""
    confirmed = admin_pb2.FENCE_ACTION_CONFIRM_OFF
    return await _fence(options, confirmed if options.confirm_off else admin_pb2.FENCE_ACTION_OFF)


async def unfence(options: Namespace) -> int:
    """Has a replica turned on."""
    return await _fence(options, admin_pb2.FENCE_ACTION_ON)


async def _fence(options: Namespace, action: admin_pb2.FenceAction) -> int:
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.FenceNodeRequest(node=options.target, action=action, requested_by=me())
        # However long the devices take: each agent has a time limit, and Ctrl-C gives up.
        response: admin_pb2.FenceNodeResponse = await stub.FenceNode(
            request, metadata=about(options)
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def force_active(options: Namespace) -> int:
    """Makes the node of this host active, whatever it may lack."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.ForceActiveRequest(
            node=options.target,
            group=options.group,
            requested_by=me(),
            accept_data_loss=options.accept_data_loss,
        )
        response: admin_pb2.ForceActiveResponse = await stub.ForceActive(
            request, timeout=FORCE_S, metadata=about(options)
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def maintenance(options: Namespace) -> int:
    """Begins or ends maintenance of a replica, or of the cluster."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.SetMaintenanceModeRequest(
            node=options.maintained,
            enabled=options.setting == "on",
            reason=options.reason,
            requested_by=me(),
        )
        response: admin_pb2.SetMaintenanceModeResponse = await stub.SetMaintenanceMode(
            request, timeout=FORCE_S, metadata=about(options)
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def service_clear(options: Namespace) -> int:
    """Has the failures of a group's services forgotten."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.ClearServiceFailuresRequest(group=options.group, requested_by=me())
        response: admin_pb2.ClearServiceFailuresResponse = await stub.ClearServiceFailures(
            request, timeout=FORCE_S, metadata=about(options)
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def notify_test(options: Namespace) -> int:
    """Has the node of this host send a test message to everybody whom it tells of events."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: admin_pb2.TestNotificationsResponse = await stub.TestNotifications(
            admin_pb2.TestNotificationsRequest(requested_by=me()),
            timeout=NOTIFY_S,
            metadata=about(options),
        )
    show(to_json(response) if options.json else rendering.render_notified(response))
    return (
        OK if response.receivers and not any(r.problem for r in response.receivers) else ATTENTION
    )


def me() -> str:
    """For the history: who asks."""
    return f"{getpass.getuser()} on {socket.gethostname()}"


async def resync(options: Namespace) -> int:
    """Has a standby compare its trees with the active's and take over what differs."""
    async with connected(options) as channel:
        stub = data_admin_pb2_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = data_admin_pb2.ResyncRequest(
            group=options.group,
            node=options.target,
            trees=options.trees,
            from_scratch=options.from_scratch,
            requested_by=me(),
        )
        response: data_admin_pb2.ResyncResponse = await stub.Resync(
            request, timeout=RESYNC_S, metadata=about(options)
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def allow_removals(options: Namespace) -> int:
    """What vanished from a tree was meant to."""
    async with connected(options) as channel:
        stub = data_admin_pb2_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: data_admin_pb2.AllowRemovalsResponse = await stub.AllowRemovals(
            data_admin_pb2.AllowRemovalsRequest(tree=options.tree, requested_by=me()),
            timeout=RESYNC_S,
            metadata=about(options),
        )
    show(to_json(response) if options.json else response.text)
    return OK


async def events(options: Namespace) -> int:
    """The history; with --follow until interrupted."""
    async with connected(options) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = admin_pb2.ListEventsRequest(after=options.after, follow=options.follow)
        event: admin_pb2.ListEventsResponse
        timeout_s = None if options.follow else STATUS_S
        async for event in stub.ListEvents(request, timeout=timeout_s, metadata=about(options)):
            show(to_json(event) if options.json else rendering.render_event(event))
    return OK


def certs_init(options: Namespace) -> int:
    """Makes the cluster's certificate authority."""
    days = certs.CA_DAYS if options.days is None else options.days
    made = certs.init(options.directory, options.cluster, days=days, force=options.force)
    _tell(
        options,
        made,
        f"Made the authority of cluster {options.cluster}: {made.certificate}, valid until"
        f" {made.not_after:%Y-%m-%d}.\nKeep {made.key} on this machine or offline: who has it can"
        " join the cluster. Next: 'staqctl certs issue' for each node.",
    )
    return OK


def certs_issue(options: Namespace) -> int:
    """Makes certificates for nodes, or for administrators."""
    make = certs.issue_admin if options.admin else certs.issue
    days = certs.CERTIFICATE_DAYS if options.days is None else options.days
    for name in options.names:
        made = make(options.directory, name, days=days, force=options.force)
        whom = f"administrator {name}" if options.admin else f"node {name}"
        _tell(
            options,
            made,
            f"Made the certificate of {whom}, valid until {made.not_after:%Y-%m-%d}."
            f"\nCopy to {name}: {made.ca} {made.certificate} {made.key} (mode 0600)",
        )
    return OK


def _tell(options: Namespace, made: certs.Issued, text: str) -> None:
    if options.json:
        content: dict[str, str] = {
            "ca": _path(made.ca),
            "certificate": _path(made.certificate),
            "key": _path(made.key),
            "not_after": made.not_after.isoformat(),
        }
        text = json.dumps(content)
    show(text)


def _path(path: Path) -> str:
    return os.fsdecode(path)


def report(error: str, exit_code: int, *, as_json: bool) -> None:
    """Says on stderr what went wrong, and to programs as an object on stdout."""
    print(f"staqctl: {error}", file=sys.stderr, flush=True)
    if as_json:
        show(json.dumps({"error": error, "exit_code": exit_code}))
