"""What an administrator reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta, timezone

import pytest

from fakes.statuses import healthy_status, position
from staqraft.cli.concerns import concerns, notices
from staqraft.cli.rendering import (
    duration_text,
    path_text,
    render_barrier,
    render_clusters,
    render_event,
    render_quarantine,
    render_status,
    render_step,
    safe,
    size_text,
)
from staqraft.cli.times import local_time
from staqraft.wire.v1 import admin_pb2, data_worker_pb2

Status = admin_pb2.GetStatusResponse
EAST = timezone(timedelta(hours=2))


def test_a_healthy_cluster_on_one_page() -> None:
    assert (
        render_status(healthy_status())
        == """\
cluster lab, seen by a (StaqRaft 0.1.0)

All is well.

NODE  ROLE     HEARD        VERSION  CONFIGURATION  RAFT
a     replica  (this node)  0.1.0    same
b     replica  yes          0.1.0    same           leader
w     witness  yes          0.1.0    same
Raft: in touch with a majority, term 3, entry 900, all applied

GROUP default: a is active and b is in sync
  active        a in epoch 5, the one before was fenced by: lease
  in sync       a, b
  a is          active, lease runs for 2.7 s
  address       192.0.2.10/24 on lan0: held here
  service       nginx: running
  peer          b: streaming over sync, 0 records behind, durable 5:3012, heard 40 ms ago
  journal       1:1 to 5:3012, 12.0 MiB
  tree          web (/srv/www): 3,012 objects, 48.2 MiB"""
    )


def test_what_is_wrong_comes_first() -> None:
    status = healthy_status()
    status.nodes[1].reachable = False
    status.groups[0].in_sync[:] = ["a"]
    lines = render_status(status).splitlines()
    assert lines[2] == "NEEDS ATTENTION"
    assert lines[3].startswith("  - b is not heard by a: is the host up")
    assert "All is well" not in "\n".join(lines)
    assert all(len(line) <= 100 for line in lines)


def _unheard(s: Status) -> None:
    s.nodes[2].reachable = False


def _other_configuration(s: Status) -> None:
    s.nodes[1].config_differs = True


def _other_version(s: Status) -> None:
    s.nodes[1].version = "0.2.0"


def _no_quorum(s: Status) -> None:
    s.raft.has_quorum = False


def _no_vote(s: Status) -> None:
    s.raft.problem = "no space on /var/lib/staqraft"


def _nobody(s: Status) -> None:
    s.groups[0].active = ""


def _alone(s: Status) -> None:
    s.groups[0].in_sync[:] = ["a"]


def _standby_not_eligible(s: Status) -> None:
    s.groups[0].active = "b"
    s.groups[0].not_eligible[:] = ["the last takeover failed on a"]


def _maintenance(s: Status) -> None:
    s.groups[0].maintenance = True


def _long_maintenance(s: Status) -> None:
    s.groups[0].maintained.add(
        node="b", requested_by="root on a", reason="disks", lasts_ms=18_000_000, long=True
    )


def _vip_gone(s: Status) -> None:
    s.groups[0].vips[0].held = False


def _service_failed(s: Status) -> None:
    s.groups[0].services[0].state = "failed"
    s.groups[0].services[0].detail = "service nginx is not well: exit status 1"


def _journal_full(s: Status) -> None:
    s.groups[0].problems.add(code="journal-full", text="the journal volume is full")
    s.groups[0].stream.problems.add(code="journal-full", text="the journal volume is full")


def _peer_refused(s: Status) -> None:
    s.groups[0].stream.peers[0].problem = "it refused: cluster differs"


def _reconcile(s: Status) -> None:
    s.groups[0].trees.needs_reconcile = "the journal was trimmed"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unheard, "w is not heard by a"),
        (_other_configuration, "the configuration of b differs from that of a"),
        (_other_version, "the nodes run different versions (0.1.0, 0.2.0)"),
        (_no_quorum, "a is not in touch with a majority"),
        (_no_vote, "a does not vote: no space on /var/lib/staqraft"),
        (_nobody, "group default: nobody is active, so its addresses and services are down"),
        (_alone, "group default: b is not in sync: if a fails now, nobody takes over by itself"),
        (_standby_not_eligible, "a would not take over if b failed now: the last takeover failed"),
        (_maintenance, "group default: maintenance is on, nothing is taken over automatically"),
        (_long_maintenance, "b has been in maintenance for 5 h 0 min (root on a: disks): is it"),
        (_vip_gone, "192.0.2.10/24 is not on lan0 though this is the active"),
        (_service_failed, "group default: service nginx is not well: exit status 1"),
        (_journal_full, "group default: the journal volume is full"),
        (_peer_refused, "group default: b: it refused: cluster differs"),
        (_reconcile, "the trees are to be compared with the active's: the journal was trimmed"),
    ],
)
def test_each_thing_that_is_wrong_is_one_sentence(
    spoil: Callable[[Status], None], words: str
) -> None:
    status = healthy_status()
    assert concerns(status) == []
    spoil(status)
    (sentence,) = concerns(status)
    assert words in sentence


def test_a_quarantine_is_worth_knowing_but_not_wrong() -> None:
    status = healthy_status()
    status.groups[0].trees.quarantined = 3
    assert concerns(status) == []
    (notice,) = notices(status)
    assert "3 objects are in quarantine on a" in notice
    text = " ".join(render_status(status).split())
    assert "All is well. Worth knowing - group default: 3 objects are in quarantine" in text


def test_a_witness_knows_no_worker() -> None:
    status = healthy_status()
    status.node = "w"
    for part in ("trees", "stream"):
        status.groups[0].ClearField(part)
    status.groups[0].vips.clear()
    assert concerns(status) == []
    assert "journal" not in render_status(status)


def test_a_journal_in_which_nothing_is_yet() -> None:
    status = healthy_status()
    stream = status.groups[0].stream
    stream.first.CopyFrom(position(5, 3013))
    assert "  journal       nothing behind 5:3012 yet, 12.0 MiB\n" in render_status(status)


def test_nothing_from_elsewhere_steers_the_terminal() -> None:
    status = healthy_status()
    status.groups[0].problems.add(text="evil \x1b[2J\nAll is well.")
    text = render_status(status)
    assert "\x1b" not in text
    assert "\\x1b[2J\\nAll is well." in text
    assert safe("ümlaut ✓") == "ümlaut ✓"
    assert path_text(b"caf\xe9/\x07bell") == "caf\\xe9/\\x07bell"


def test_a_reconcile_shows_how_far_it_is() -> None:
    status = healthy_status()
    peer = status.groups[0].stream.peers[0]
    peer.state = data_worker_pb2.SESSION_STATE_RECONCILING
    peer.objects_done, peer.objects_total = 1500, 30000
    assert "b: comparing trees over sync, 1,500 of 30,000 objects" in render_status(status)
    peer.bytes_done, peer.bytes_per_s, peer.left_ms = 3 << 30, 50 << 20, 600_000
    assert "objects, 3.0 GiB fetched, 50.0 MiB/s, 10 min left" in render_status(status)
    running = status.groups[0].trees.reconcile
    running.phase, running.objects_done, running.objects_total = "comparing tree web", 5, 9
    running.fetched, running.to_fetch, running.left_ms = 2, 4, -1
    running.bytes_done, running.bytes_to_fetch, running.bytes_per_s = 1 << 20, 2 << 20, 1024
    said = "comparing tree web: 5 of 9 objects, 2 of 4 fetched (1.0 MiB of 2.0 MiB, 1.0 KiB/s)"
    assert f"{said}, time left not known yet" in render_status(status)
    scanning = data_worker_pb2.ReconcileResponse(phase="looking at files", objects_done=1234)
    fresh = healthy_status()
    fresh.groups[0].trees.reconcile.CopyFrom(scanning)
    assert "comparing     looking at files: 1,234 objects" in render_status(fresh)
    running.left_ms = 90_000
    assert f"{said}, 90.0 s left" in render_status(status)


def test_a_standby_that_settles_says_what_it_awaits() -> None:
    status = healthy_status()
    trees = status.groups[0].trees
    trees.role = data_worker_pb2.WORKER_ROLE_STANDBY
    assert "settling" not in render_status(status)
    trees.settling = True
    assert "settling      not whole without the active yet: what was written" in render_status(
        status
    )
    trees.unsettled = 1_200
    assert "1,200 objects are in doubt" in " ".join(render_status(status).split())


def test_a_barrier_says_where_it_is_durable() -> None:
    reached = admin_pb2.BarrierResponse(
        position=position(5, 77), replicas=["a", "b"], elapsed_us=12_345
    )
    assert render_barrier(reached) == (
        "Everything written before is durable on a and b (position 5:77, 12 ms)."
    )
    alone = admin_pb2.BarrierResponse(position=position(5, 78), replicas=["a"], degraded=True)
    assert "That is one host only" in render_barrier(alone)


def test_steps_of_a_switchover() -> None:
    step = admin_pb2.SwitchOverResponse(step="services stopped", elapsed_ms=120)
    assert render_step(step) == "   0.12 s  services stopped"
    done = admin_pb2.SwitchOverResponse(
        step="b is active", done=True, succeeded=True, epoch=6, elapsed_ms=431
    )
    assert render_step(done) == "   0.43 s  b is active (epoch 6)"
    failed = admin_pb2.SwitchOverResponse(step="a stays active", done=True)
    assert render_step(failed).endswith("a stays active (NOT done)")


def test_events_have_local_times() -> None:
    event = admin_pb2.ListEventsResponse(
        wall_ms=1_767_225_600_000, group="default", node="b", kind="takeover",
        text="b took over from a", epoch=6,
    )  # fmt: skip
    assert render_event(event, EAST) == (
        "2026-01-01 02:00:00  default@6    b        takeover       b took over from a"
    )
    assert local_time(0, EAST) == "1970-01-01 02:00:00"


def test_the_quarantine_as_a_table() -> None:
    empty = data_worker_pb2.ListQuarantineResponse()
    assert render_quarantine(empty) == "Nothing is in quarantine on this node."
    entry = data_worker_pb2.QuarantineEntry(
        id="3f9c21ab04", tree="mail", path=b"lea/new/\xff1", reason="never sent", epoch=5,
        wall_ms=1_767_225_600_000, size=4096, kept_at="/var/lib/staqraft/q/1",
    )  # fmt: skip
    head, line, _, total = render_quarantine(
        data_worker_pb2.ListQuarantineResponse(entries=[entry]), EAST
    ).splitlines()
    assert head.split() == ["ID", "SINCE", "EPOCH", "SIZE", "TREE", "PATH", "WHY", "KEPT", "AT"]
    assert line.startswith("3f9c21ab04  2026-01-01 02:00:00")
    assert "4.0 KiB  mail  lea/new/\\xff1  never sent" in line
    assert total.startswith("1 object, 4.0 KiB. 'staqctl quarantine restore ID'")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (12 << 20, "12.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (600_000, "10 min"), (9_000_000, "2 h 30 min")],
)
def test_durations(milliseconds: int, text: str) -> None:
    assert duration_text(milliseconds) == text


def test_the_clusters_of_a_witness_are_one_a_line_with_what_is_wrong_below() -> None:
    quorum = admin_pb2.RaftStatus(has_quorum=True)
    text = render_clusters(
        admin_pb2.ListClustersResponse(
            clusters=[
                admin_pb2.ClusterStatus(
                    cluster="alpha", source="/a", served=True, reachable=["a", "b"], raft=quorum
                ),
                admin_pb2.ClusterStatus(cluster="beta-long", source="/b", served=True),
                admin_pb2.ClusterStatus(source="/c", problems=["/c:1: the file is empty\x1b[2J"]),
            ]
        )
    )
    assert text.splitlines() == [
        "alpha      served, a and b connected  (/a)",
        "beta-long  no majority  (/b)",
        "?          LEFT OUT  (/c)",
        "    /c:1: the file is empty\\x1b[2J",
    ]


def test_a_service_shows_its_restarts_and_why_it_failed_last() -> None:
    status = healthy_status()
    (group,) = status.groups
    group.services[0].restarts_used = 2
    group.services[0].restarts_most = 3
    group.services[0].last_failure = "http on 127.0.0.1:80: no answer within 5 s"
    group.service_moves, group.service_moves_most = 1, 3
    text = render_status(status)
    name = group.services[0].name
    assert (
        f"{name}: running, restarted 2 of 3 times, last failure: http on 127.0.0.1:80: no answer"
        in text
    )
    assert "1 of 3 for failed services" in text
