"""What people read of health: who would take over, the links, and each cause once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fakes.configs import write_config
from fakes.statuses import healthy_status
from staqraft.api.concerns import concerns
from staqraft.cli.rendering import render_status
from staqraft.config.loader import read
from staqraft.config.schema import Journal
from staqraft.health.configs import digests
from staqraft.health.exchange import ClockDifference
from staqraft.model import GroupId, NodeId
from staqraft.notify.message import Severity
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import health_pb2 as pb


def status_with(*findings: pb.Finding) -> admin_pb2.GetStatusResponse:
    status = healthy_status()
    status.findings.extend(findings)
    return status


def finding(code: str, subject: str = "", severity: str = "warning") -> pb.Finding:
    return pb.Finding(
        code=code, subject=subject, severity=severity, text=f"{code} it is", remedy="do this"
    )


class TestConcerns:
    def test_a_finding_is_told_with_its_remedy_and_severity(self) -> None:
        (one,) = concerns(status_with(finding("disk-hung", "/srv", "critical")))
        assert (one.code, one.text, one.about) == ("disk-hung", "disk-hung it is: do this", "/srv")
        assert one.severity is Severity.CRITICAL

    def test_what_the_other_replica_finds_about_itself_is_its_own_to_tell(self) -> None:
        theirs = finding("disk-space", "/srv")
        theirs.node = "b"
        status = status_with(theirs)
        assert concerns(status) == []
        text = render_status(status)
        assert "All is well." in text
        assert "Worth knowing\n  - disk-space it is: do this" in text

    def test_a_member_that_is_not_heard_is_told_once_with_the_cause(self) -> None:
        status = status_with(finding("peer-silent", "b sync"))
        status.nodes[1].reachable = False
        (one,) = concerns(status)
        assert (one.code, one.text) == ("unreachable", "peer-silent it is: do this")

    def test_configurations_that_differ_are_told_once_with_what_differs(self) -> None:
        status = status_with(finding("config", "b"))
        status.nodes[1].config_differs = True
        assert [(c.code, c.text) for c in concerns(status)] == [
            ("config-differs", "config it is: do this")
        ]

    def test_the_active_shows_why_the_standby_would_not_take_over(self) -> None:
        status = healthy_status()
        refusal = pb.TakeoverRefusal(code="unhealthy", reason="b is not fit", remedy="mend it")
        status.groups[0].takeovers.add(node="b", known=True, refusals=[refusal])
        (one,) = concerns(status)
        assert (one.code, one.ours) == ("not-eligible", False)
        assert one.text == "b would not take over if a failed now: b is not fit: mend it"

    def test_what_alone_says_already_is_not_said_twice(self) -> None:
        status = healthy_status()
        status.groups[0].in_sync[:] = ["a"]
        refusal = pb.TakeoverRefusal(code="not-in-sync", reason="it lacks", remedy="wait")
        status.groups[0].takeovers.add(node="b", known=True, refusals=[refusal])
        assert [one.code for one in concerns(status)] == ["alone"]


class TestRendering:
    def test_each_replica_has_its_line(self) -> None:
        status = healthy_status()
        takeovers = status.groups[0].takeovers
        takeovers.add(node="a", active=True)
        takeovers.add(node="b", known=True, heard_ms=500)
        text = render_status(status)
        assert "takeover      a is active" in text
        assert "takeover      b would take over now\n" in text

    def test_who_let_its_lease_run_out_is_not_called_active(self) -> None:
        status = healthy_status()
        status.groups[0].takeovers.add(node="a", active=True)
        status.groups[0].lease_over_ms = 4_000
        assert "takeover      a was active, and its lease is over" in render_status(status)

    def test_a_refusal_has_reason_and_remedy(self) -> None:
        status = healthy_status()
        refusal = pb.TakeoverRefusal(code="data", reason="it hangs", remedy="look at the disk")
        status.groups[0].takeovers.add(node="b", known=True, heard_ms=900, refusals=[refusal])
        words = "b would NOT: it hangs: look at the disk"
        assert f"takeover      {words}" in render_status(status)

    def test_nothing_is_claimed_by_a_word_that_is_old(self) -> None:
        status = healthy_status()
        refusal = pb.TakeoverRefusal(code="data", reason="it hangs", remedy="look at the disk")
        takeover = status.groups[0].takeovers.add(node="b", known=True, heard_ms=90_000)
        text = render_status(status)
        assert "b has not been heard for 90.0 s, so it is not known whether it would; its" in text
        assert concerns(status) == []
        takeover.refusals.append(refusal)
        assert "its last word was: it hangs" in render_status(status)
        assert concerns(status) == []

    def test_who_just_lost_its_place_does_not_have_the_last_word(self) -> None:
        """Its host lost its power a moment after it said that it would take over."""
        status = healthy_status()
        takeover = status.groups[0].takeovers.add(node="b", known=True, heard_ms=500)
        status.groups[0].in_sync[:] = ["a"]
        for heard_ms in (500, 90_000):
            takeover.heard_ms = heard_ms
            text = render_status(status)
            assert "takeover      b would NOT: it is not in sync" in text
            assert "would take over now" not in text
            assert "its last word" not in text

    def test_nothing_is_claimed_of_who_was_never_heard(self) -> None:
        status = healthy_status()
        status.groups[0].takeovers.add(node="b")
        assert "b has not been heard, so it is not known" in render_status(status)

    def test_links(self) -> None:
        status = healthy_status()
        status.links.add(
            peer="b", ring="sync", address="10.1.0.1", peer_address="10.1.0.2", way="only to it",
            round_trip_us=420,
        )  # fmt: skip
        assert "Link sync: 10.1.0.1 - b 10.1.0.2: only to it" in render_status(status)


class TestClockDifference:
    def test_the_fastest_answer_is_believed(self) -> None:
        clock = ClockDifference()
        assert clock.best is None
        clock.measured(1_000_000, 1_260_000, 1_500_000, 500_000)  # 10 ms ahead, if at all
        clock.measured(2_000_000, 2_000_900, 2_001_000, 1_000)
        assert clock.best == (400, 1_000)

    def test_a_sample_in_which_our_clock_stepped_is_dropped(self) -> None:
        clock = ClockDifference()
        clock.measured(1_000_000, 1_000_500, 9_000_000, 1_000)
        assert clock.best is None

    def test_what_the_other_measured_is_turned_round(self) -> None:
        clock = ClockDifference()
        clock.told(-700, 90)
        assert clock.best == (700, 90)


def test_digests_name_what_differs_and_hold_no_secret(tmp_path: Path) -> None:
    config = read(write_config(tmp_path)).config
    group = config.groups[GroupId("default")]
    other = replace(
        config,
        node=NodeId("b"),
        log_level="debug",
        lease=replace(config.lease, ttl_ms=4000),
        groups={group.id: replace(group, journal=Journal(max_age_ms=5))},
    )
    mine, theirs = digests(config), digests(other)
    assert sorted(key for key in mine if mine[key] != theirs[key]) == [
        "groups.default.journal",
        "lease.ttl_ms",
    ]
    assert all(len(value) == 8 for value in mine.values())
