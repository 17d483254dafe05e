"""What is wrong in a status: one list for people, messages and metrics."""

from __future__ import annotations

from fakes.statuses import healthy_status
from staqraft.api.concerns import concerns
from staqraft.notify.message import Severity
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import data_worker_pb2 as pb


def codes(status: admin_pb2.GetStatusResponse) -> list[str]:
    return [one.code for one in concerns(status)]


def test_nothing_is_wrong_with_a_healthy_pair() -> None:
    assert concerns(healthy_status()) == []


def test_findings_of_node_and_group_keep_their_codes() -> None:
    status = healthy_status()
    status.raft.has_quorum = False
    status.problems.append(pb.WorkerProblem(code="listen", text="port 7400 is taken"))
    status.groups[0].problems.append(pb.WorkerProblem(code="journal-full", text="no space"))
    status.groups[0].in_sync[:] = ["a"]
    assert codes(status) == ["no-majority", "listen", "alone", "journal-full"]
    severities = [one.severity.word for one in concerns(status)]
    assert severities == ["critical", "warning", "warning", "critical"]


def test_a_finding_that_daemon_and_worker_both_tell_is_one() -> None:
    status = healthy_status()
    problem = pb.WorkerProblem(code="peer-b", text="b refuses")
    status.groups[0].problems.append(problem)
    status.groups[0].stream.problems.append(problem)
    assert codes(status) == ["peer"]


def test_a_problem_of_the_stream_and_of_its_peer_is_one() -> None:
    status = healthy_status()
    text = "b cannot be reached: sync (10.77.1.12): no answer within 500 ms"
    status.groups[0].stream.problems.append(pb.WorkerProblem(code="peer-b", text=text))
    status.groups[0].stream.peers[0].problem = text
    assert [(one.code, one.text) for one in concerns(status)] == [("peer", text)]


def standby_of_a_lost_active() -> admin_pb2.GetStatusResponse:
    """b, which is not in sync, has seen no renewal of a's lease for long."""
    status = healthy_status()
    status.node, group = "b", status.groups[0]
    group.phase, group.lease_over_ms, group.in_sync[:] = "standby", 21_900, ["a"]
    group.not_eligible.append("b is not in sync: it catches up by itself")
    return status


def test_an_active_whose_lease_is_over_is_none() -> None:
    first, second = concerns(standby_of_a_lost_active())
    assert (first.code, first.severity) == ("nobody-active", Severity.CRITICAL)
    assert first.text.startswith("the lease of a ran out 21 s ago, so its addresses")
    assert second.code == "not-eligible"
    assert second.text == (
        "b does not take over by itself: b is not in sync: it catches up by itself"
    )


def test_who_hears_nobody_does_not_say_that_nobody_serves() -> None:
    status = standby_of_a_lost_active()
    status.raft.has_quorum = False
    assert "nobody-active" not in codes(status)
    assert "no-majority" in codes(status)


def test_nobody_active_is_critical() -> None:
    status = healthy_status()
    status.groups[0].active = ""
    (one,) = concerns(status)
    assert (one.code, one.severity) == ("nobody-active", Severity.CRITICAL)


def test_that_it_is_alone_is_the_actives_to_tell() -> None:
    status = healthy_status()
    status.groups[0].in_sync[:] = ["a"]
    assert [one.ours for one in concerns(status)] == [True]
    status.node = "w"
    assert [(one.code, one.ours) for one in concerns(status)] == [("alone", False)]


def test_each_member_that_is_away_is_told_apart() -> None:
    status = healthy_status()
    status.nodes[1].reachable = status.nodes[2].reachable = False
    assert [(one.code, one.about) for one in concerns(status)] == [
        ("unreachable", "b"),
        ("unreachable", "w"),
    ]


def test_a_failed_service_and_an_address_that_is_missing_are_named() -> None:
    status = healthy_status()
    status.groups[0].services[0].state = "failed"
    status.groups[0].vips[0].held = False
    assert [(one.code, one.about) for one in concerns(status)] == [
        ("vip-not-held", "192.0.2.10/24"),
        ("service-failed", "nginx"),
    ]


def test_a_takeover_that_waits_does_not_serve_and_says_why() -> None:
    status = healthy_status()
    status.groups[0].phase = "fencing"
    status.groups[0].summary = "a makes sure that b no longer serves"
    status.groups[0].vips[0].held = False  # which is right, so far
    (one,) = concerns(status)
    assert (one.code, one.severity) == ("not-serving", Severity.CRITICAL)
    assert "makes sure that b no longer serves" in one.text


def test_of_which_ring_or_peer_it_is_makes_no_code_of_its_own() -> None:
    status = healthy_status()
    for code in ("listen-sync", "listen-service", "stream-silent"):
        status.groups[0].problems.append(pb.WorkerProblem(code=code, text=f"text of {code}"))
    assert [(one.code, one.about) for one in concerns(status)] == [
        ("listen", "listen-sync"),
        ("listen", "listen-service"),
        ("stream-silent", "stream-silent"),
    ]


def test_what_a_disk_damaged_is_told_by_the_standby_that_healed_it() -> None:
    status = healthy_status()
    status.groups[0].trees.scrub.corrupt_lately = 2
    assert codes(status) == []  # the active names the files, as a finding of their own
    status.groups[0].trees.role = pb.WORKER_ROLE_STANDBY
    assert codes(status) == ["disk-corrupt"]


def test_who_knows_nothing_yet_does_not_say_that_nobody_is_active() -> None:
    status = healthy_status()
    status.groups[0].active = ""
    status.raft.CopyFrom(admin_pb2.RaftStatus(problem="the log is damaged"))
    assert codes(status) == ["no-majority", "not-voting"]
