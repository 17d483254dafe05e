"""`staqctl quarantine`: what a returning node had to itself, listed, brought back, dropped."""

from __future__ import annotations

import os
from argparse import Namespace

from staqraft.cli.commands import OK, STATUS_S, about, me, show, to_json
from staqraft.cli.connection import configuration, connected, worker
from staqraft.cli.rendering import path_text, render_quarantine, safe, size_text
from staqraft.errors import ApplyError, ConfigError, NotActive
from staqraft.model import GroupId, NodeRole
from staqraft.wire.v1 import data_admin_pb2 as pb
from staqraft.wire.v1 import data_admin_pb2_grpc as pb_grpc
from staqraft.wire.v1 import data_worker_pb2, data_worker_pb2_grpc

_LIST_S = 60.0
_DROP_S = 600.0


async def listing(options: Namespace) -> int:
    """What is in quarantine on this host, asked of the data worker itself."""
    config = configuration(options)
    groups = [GroupId(options.group)] if options.group else sorted(config.groups)
    if unknown := [group for group in groups if group not in config.groups]:
        known = ", ".join(sorted(config.groups))
        raise ConfigError([f"there is no group {unknown[0]!r}: it is one of {known}"])
    if config.me.role is NodeRole.WITNESS:
        hosts = " or ".join(config.replicas)
        raise NotActive(f"{config.node} is a witness, which holds no data: ask on {hosts}")
    found = data_worker_pb2.ListQuarantineResponse()
    for group in groups:
        async with worker(config.worker_socket(group, "trees")) as channel:
            stub = data_worker_pb2_grpc.TreesWorkerServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            response: data_worker_pb2.ListQuarantineResponse = await stub.ListQuarantine(
                data_worker_pb2.ListQuarantineRequest(), timeout=_LIST_S
            )
        found.entries.extend(response.entries)
    show(to_json(found) if options.json else render_quarantine(found))
    return OK


async def restore(options: Namespace) -> int:
    """Brings objects back; says of each what became of it."""
    _one_way(ids=bool(options.ids), other=options.all, ways="ids or --all")
    wish = data_worker_pb2.RestoreQuarantinedRequest(
        ids=options.ids,
        all=options.all,
        target=os.fsencode(options.to.absolute()) if options.to else b"",
        force=options.force,
    )
    restored = failed = 0
    async with connected(options) as channel:
        stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        request = pb.RestoreQuarantineRequest(group=options.group, wish=wish, requested_by=me())
        # However long it takes: a terabyte may have to be copied, and Ctrl-C ends it.
        response: pb.RestoreQuarantineResponse
        async for response in stub.RestoreQuarantine(request, metadata=about(options)):
            outcome = response.outcome
            restored += outcome.restored
            failed += not outcome.restored
            show(to_json(outcome) if options.json else _outcome(outcome))
    if not options.json:
        show(_summary(restored, failed, outside=options.to is not None))
    return ApplyError.exit_code if failed else OK


def _outcome(outcome: data_worker_pb2.RestoreQuarantinedResponse) -> str:
    entry = outcome.entry
    said = "" if outcome.restored else "NOT restored: "
    return f"{entry.id}  {safe(entry.tree)}:{path_text(entry.path)}  {said}{safe(outcome.text)}"


def _summary(restored: int, failed: int, *, outside: bool) -> str:
    if not restored and not failed:
        return "Nothing is in quarantine on this node, so nothing was restored."
    text = f"{_objects(restored)} restored"
    if restored and not outside:
        text += "; the standby gets them like any other change"
    if failed:
        text += f"; {_objects(failed)} NOT restored, still in quarantine"
    return f"{text}."


async def drop(options: Namespace) -> int:
    """Removes objects for good."""
    others = options.all or options.older_than is not None
    _one_way(ids=bool(options.ids), other=others, ways="ids, --all or --older-than")
    wish = data_worker_pb2.DropQuarantinedRequest(
        ids=options.ids, all=options.all, older_than_ms=options.older_than or 0
    )
    async with connected(options) as channel:
        stub = pb_grpc.DataAdminServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        response: pb.DropQuarantineResponse = await stub.DropQuarantine(
            pb.DropQuarantineRequest(group=options.group, wish=wish, requested_by=me()),
            timeout=_DROP_S + STATUS_S,
            metadata=about(options),
        )
    gone = response.outcome
    if options.json:
        show(to_json(gone))
    elif gone.objects:
        show(f"{_objects(gone.objects)} removed for good, {size_text(gone.bytes)}.")
    elif not gone.problem:
        older = " that old" if options.older_than else ""
        show(f"Nothing{older} is in quarantine on this node, so nothing was removed.")
    if gone.problem:
        raise _Ended(gone.problem)
    return OK


class _Ended(ApplyError):
    """Dropping ended early."""


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"


def _one_way(*, ids: bool, other: bool, ways: str) -> None:
    if ids == other:
        both = "not both" if ids else "'staqctl quarantine list' shows the ids"
        raise ConfigError([f"say which objects: {ways} ({both})"])
