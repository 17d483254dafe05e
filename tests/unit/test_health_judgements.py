"""What is said of disks, uplinks, rings, clocks and configurations, and that the cause is right."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface
from typing import ClassVar

import pytest

from staqraft.config.schema import DiskHealth, PingHealth, Vip
from staqraft.decision.defects import CONFIG, DISK, FULL, LINK, UPLINK, Defect
from staqraft.health import box, configs, disks, links, uplink, vips
from staqraft.health.disks import VolumeLook
from staqraft.health.findings import Finding, Latch, Severity
from staqraft.health.links import End, RingLook, Way
from staqraft.health.uplink import TargetLook
from staqraft.model import GroupId, NodeId

A, B = NodeId("a"), NodeId("b")
GROUP = GroupId("default")
GIB = 1 << 30
WELL = VolumeLook(
    path="/srv", took_ms=4, free=50 * GIB, size=100 * GIB, free_inodes=900, inodes=1000
)
DISKS, PINGS = DiskHealth(), PingHealth()


def of_disk(**changes: object) -> list[Finding]:
    return list(disks.judge(replace(WELL, **changes), DISKS, A))  # type: ignore[arg-type]


class TestDisks:
    def test_nothing_is_said_of_a_disk_that_is_well(self) -> None:
        assert of_disk() == []

    @pytest.mark.parametrize(
        ("changes", "code", "bars", "words"),
        [
            ({"writing_ms": 15_000}, "disk-hung", True, "has not ended for 15 s"),
            ({"writing_ms": 4_000}, "disk-slow", True, "a small write took 4.0 s"),
            ({"took_ms": 3_500}, "disk-slow", True, "a small write took 3.5 s"),
            ({"error": "EROFS"}, "disk-failed", True, "is read-only"),
            ({"error": "EIO"}, "disk-failed", True, "cannot be written to (EIO)"),
            ({"error": "ENOENT"}, "disk-failed", True, "is not there"),
            ({"error": "ENOSPC"}, "disk-full", False, "is full: it has no space left"),
            ({"free": 1 << 20}, "disk-full", False, "is full"),
            ({"free_inodes": 3}, "disk-full", False, "no inodes (it has too many files) left"),
            ({"free": 9 * GIB}, "disk-space", False, "has 9.0 % of its space left"),
            ({"free": 2 * GIB}, "disk-space", False, "has 2.0 % of its space left"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, changes: dict[str, object], code: str, bars: bool, words: str
    ) -> None:
        (found,) = of_disk(**changes)
        assert (found.code, found.bars, found.defect) == (code, bars, DISK if bars else FULL)
        assert words in found.text
        assert found.hangs == (code == "disk-hung")
        assert "on a" in found.text
        assert found.subject == "/srv"
        assert len(found.remedy) > 20

    def test_a_slow_disk_and_one_with_little_room_are_never_sure(self) -> None:
        (slow,), (tight,) = of_disk(writing_ms=4_000), of_disk(free=9 * GIB)
        assert slow.sure_ms is None
        assert tight.sure_ms is None
        assert tight.severity is Severity.WARNING
        assert of_disk(free=2 * GIB)[0].severity is Severity.CRITICAL

    def test_a_filesystem_without_inodes_of_its_own_is_judged_by_space(self) -> None:
        assert of_disk(inodes=0, free_inodes=0) == []


def target(**changes: object) -> TargetLook:
    plain = TargetLook(address="192.0.2.1", answered_ms=300, asked_for_ms=99_000, gateway=True)
    return replace(plain, **changes)  # type: ignore[arg-type]


class TestUplink:
    def judged(self, *looks: TargetLook, others: dict[str, bool] | None = None) -> list[Finding]:
        said = {} if others is None else {B: others}
        return list(uplink.judge(looks, PINGS, A, said))

    def test_nothing_is_said_while_it_answers(self) -> None:
        assert self.judged(target()) == []
        assert self.judged() == []

    def test_two_lost_pings_are_a_doubt_that_nobody_is_told_of(self) -> None:
        (doubt,) = self.judged(target(answered_ms=2_600))
        assert (doubt.defect, doubt.sure_ms, doubt.severity) == (UPLINK, None, Severity.SUSPICION)

    @pytest.mark.parametrize(
        ("others", "way", "words", "remedy"),
        [
            ({"192.0.2.1": True}, "", "answers b, so the fault is between a and", "port of a"),
            ({"192.0.2.1": False}, "", "neither a nor b reaches", "the router itself"),
            (None, "", "the gateway 192.0.2.1 does not answer pings of a any more", "router"),
            ({"192.0.2.1": True}, "its interface eth0 has no link", "eth0 has no link", "cable"),
        ],
    )
    def test_the_right_cause_is_named(
        self, others: dict[str, bool] | None, way: str, words: str, remedy: str
    ) -> None:
        found = self.judged(target(answered_ms=5_000, way=way), others=others)
        lost = next(f for f in found if f.code == "uplink-lost")
        assert words in lost.text
        assert remedy in lost.remedy
        assert (lost.defect, lost.bars, lost.sure_ms) == (UPLINK, False, 1_000)

    def test_one_silent_target_of_two_is_no_lost_uplink(self) -> None:
        (found,) = self.judged(target(answered_ms=60_000), target(address="192.0.2.9"))
        assert (found.code, found.defect) == ("ping-silent", "")

    def test_a_target_that_never_answered_says_nothing_of_the_uplink(self) -> None:
        (found,) = self.judged(target(answered_ms=None, gateway=False))
        assert (found.code, found.defect) == ("ping-never", "")
        assert self.judged(target(answered_ms=None)) == []  # a gateway that nobody chose
        assert self.judged(target(answered_ms=None), target(address="192.0.2.9")) == []

    def test_one_that_has_answered_only_the_other_replica_does(self) -> None:
        found = self.judged(target(answered_ms=None, elsewhere=True), others={"192.0.2.1": True})
        assert "uplink-lost" in [f.code for f in found]

    def test_a_daemon_that_has_just_started_says_nothing_yet(self) -> None:
        assert self.judged(target(answered_ms=None, asked_for_ms=1_000)) != []
        assert all(
            f.severity is Severity.SUSPICION
            for f in self.judged(target(answered_ms=None, asked_for_ms=1_000))
        )


class TestInterfacesOfAddresses:
    VIPS: ClassVar = {
        GROUP: (
            Vip(address=ip_interface("192.0.2.10/24"), interface="eth0"),
            Vip(address=ip_interface("198.51.100.1/24"), interface="eth1"),
        ),
        GroupId("other"): (Vip(address=ip_interface("2001:db8::1/64"), interface="eth0"),),
    }

    def judged(self, **of: bool | None) -> list[Finding]:
        return list(vips.judge(self.VIPS, of, A))

    def test_nothing_is_said_while_they_have_their_links(self) -> None:
        assert self.judged(eth0=True, eth1=True) == []

    def test_a_cable_that_is_out_is_a_defect_of_the_groups_that_are_reached_by_it(self) -> None:
        (found,) = self.judged(eth0=False, eth1=True)
        assert found.text == (
            "eth0 of a has no link, so no client reaches 192.0.2.10, 2001:db8::1 there"
        )
        assert "cable of eth0 on a" in found.remedy
        assert (found.defect, found.bars) == (LINK, False)
        assert found.groups == self.VIPS.keys()
        assert self.judged(eth0=True, eth1=False)[0].groups == {GROUP}

    def test_one_that_is_not_there_bars(self) -> None:
        (found,) = self.judged(eth0=True, eth1=None)
        assert found.text == "a has no interface eth1, so it cannot have 198.51.100.1"
        assert (found.defect, found.bars, found.subject) == (LINK, True, "eth1")


def ring(name: str = "sync", /, **changes: object) -> RingLook:
    plain = RingLook(
        ring=name,
        mine=End(address="10.1.0.1", interface="eth1"),
        peer_address="10.1.0.2",
        answered_ms=200,
        heard_ms=300,
        called_ms=1_000,
        peer_end=End(address="10.1.0.2", interface="eth7"),
        peer_heard_ms=400,
        asked_for_ms=99_000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


SILENT = {"answered_ms": 9_000, "heard_ms": 9_000, "called_ms": 9_000, "peer_heard_ms": 9_000}


def judged(*looks: RingLook, daemon: bool = True) -> list[tuple[Way, str, str]]:
    states = links.judge(looks, 6_000, A, B, daemon=daemon)
    return [
        (s.way, s.finding.code if s.finding else "", s.finding.text if s.finding else "")
        for s in states
    ]


class TestRings:
    def test_nothing_is_said_of_rings_that_work(self) -> None:
        assert judged(ring("service"), ring()) == [(Way.BOTH, "", "")] * 2

    def test_nor_before_they_were_looked_at_for_long_enough(self) -> None:
        fresh = dict.fromkeys(SILENT) | {"asked_for_ms": 1_000}
        assert judged(ring(**fresh))[0] == (Way.UNKNOWN, "", "")

    @pytest.mark.parametrize(
        ("changes", "way", "code", "words"),
        [
            ({}, Way.NOTHING, "link-cut", "nothing passes on ring sync (10.1.0.1 to 10.1.0.2)"),
            (
                {"mine": End(address="10.1.0.1", interface="eth1", carrier=False)},
                Way.NOTHING,
                "link-cable",
                "eth1 of a (ring sync, 10.1.0.1) has no link",
            ),
            (
                {"peer_end": End(address="10.1.0.2", interface="eth7", carrier=False)},
                Way.NOTHING,
                "link-cable",
                "eth7 of b (ring sync, 10.1.0.2) has no link, while eth1 of a has",
            ),
            (
                {"mine": End(address="10.1.0.1")},
                Way.NOTHING,
                "link-address",
                "a does not have its address 10.1.0.1 of ring sync",
            ),
            (
                {"peer_end": End(address="10.1.0.2")},
                Way.NOTHING,
                "link-address",
                "b does not have its address 10.1.0.2",
            ),
            (
                {"heard_ms": 100},
                Way.ONLY_IN,
                "link-one-way",
                "a hears b on ring sync (10.1.0.1 to 10.1.0.2), but b does not hear a: packets",
            ),
            (
                {"peer_heard_ms": 100},
                Way.ONLY_OUT,
                "link-one-way",
                "b hears a on ring sync (10.1.0.1 to 10.1.0.2), but a does not hear b: packets",
            ),
        ],
    )
    def test_one_ring_fails_and_the_right_end_is_named(
        self, changes: dict[str, object], way: Way, code: str, words: str
    ) -> None:
        first, second = judged(ring("service"), ring(**{**SILENT, **changes}))
        assert first == (Way.BOTH, "", "")
        assert second[:2] == (way, code)
        assert words in second[2]
        assert "connected by ring service, and nothing is failed over for a ring" in second[2]

    def test_all_rings_fail_with_links_up_is_one_finding(self) -> None:
        first, second = judged(ring("service", **SILENT), ring(**SILENT), daemon=False)
        assert first[:2] == (Way.NOTHING, "peer-silent")
        assert "b does not answer on any ring (service 10.1.0.2, sync 10.1.0.2)" in first[2]
        assert second == (Way.NOTHING, "", "")

    def test_all_rings_fail_because_of_our_own_cables(self) -> None:
        pulled = {**SILENT, "mine": End(address="x", interface="eth0", carrier=False)}
        both = judged(ring("service", **pulled), ring(**pulled), daemon=False)
        assert [code for _, code, _ in both] == ["link-cable", "link-cable"]

    def test_a_host_without_its_daemon(self) -> None:
        first, second = judged(ring("service", called_ms=None), ring(called_ms=9_000), daemon=False)
        assert first[1] == "daemon-silent"
        assert "answers pings (10.1.0.2), but its daemon does not answer" in first[2]
        assert second == (Way.BOTH, "", "")

    def test_a_firewall_before_the_port_of_one_ring(self) -> None:
        first, second = judged(ring("service"), ring(called_ms=9_000))
        assert (first[1], second[1]) == ("", "link-port")

    def test_pings_that_are_filtered_are_no_fault_while_calls_pass(self) -> None:
        quiet = {"answered_ms": None, "heard_ms": None, "peer_heard_ms": None}
        assert judged(ring(**quiet))[0] == (Way.BOTH, "", "")


class TestBox:
    def test_clocks_may_differ_by_a_second(self) -> None:
        assert list(box.judge_clock(900.0, 1.0, 1_000, A, B)) == []

    def test_who_is_ahead_is_named(self) -> None:
        (ahead,) = box.judge_clock(3_200.0, 1.0, 1_000, A, B)
        (behind,) = box.judge_clock(-3_200.0, 1.0, 1_000, A, B)
        assert "the clock of b is 3.2 s ahead of that of a" in ahead.text
        assert "the clock of a is 3.2 s ahead of that of b" in behind.text
        assert not ahead.defect

    def test_a_slow_answer_is_no_wrong_clock(self) -> None:
        assert list(box.judge_clock(1_400.0, 1_000.0, 1_000, A, B)) == []

    def test_memory(self) -> None:
        assert list(box.judge_memory(5 * GIB, 100 * GIB, 5, A)) == []
        (found,) = box.judge_memory(4 * GIB, 100 * GIB, 5, A)
        assert "4096 MiB of memory left of 102400 MiB" in found.text

    def test_a_silent_worker_concerns_its_group(self) -> None:
        assert list(box.judge_worker(GROUP, "trees", 5_000, A)) == []
        (found,) = box.judge_worker(GROUP, "trees", 25_000, A)
        assert found.groups == {GROUP}


class TestConfigurations:
    MINE: ClassVar = {"lease.ttl_ms": "1", "groups.default.trees": "2", "groups.default.scrub": "3"}

    def test_equal_ones(self) -> None:
        assert list(configs.judge(self.MINE, dict(self.MINE), A, B)) == []

    def test_what_differs_is_named_and_what_matters_bars(self) -> None:
        (found,) = configs.judge(self.MINE, {**self.MINE, "groups.default.trees": "9"}, A, B)
        assert "configurations of a and b differ in groups.default.trees, so neither" in found.text
        assert (found.defect, found.bars) == (CONFIG, True)

    def test_what_does_not_matter_bars_nobody(self) -> None:
        (found,) = configs.judge(self.MINE, {**self.MINE, "groups.default.scrub": "9"}, A, B)
        assert "differ in groups.default.scrub" in found.text
        assert (found.defect, found.bars, found.severity) == ("", False, Severity.WARNING)

    def test_a_group_that_only_one_knows_bars(self) -> None:
        (found,) = configs.judge(self.MINE, {**self.MINE, "groups.more.trees": "9"}, A, B)
        assert found.bars


LOST = Finding(
    code="uplink-lost",
    subject="",
    severity=Severity.CRITICAL,
    text="gone",
    remedy="look",
    defect=UPLINK,
)
SURE = (Defect(kind=UPLINK, text="gone", remedy="look"),)
DOUBT = (replace(SURE[0], sure=False),)


class TestLatch:
    def test_what_is_there_counts_and_when_gone_is_a_doubt_for_a_while(self) -> None:
        latch = Latch(steady_ms=30_000).see([LOST], 0)
        assert latch.defects(0, GROUP) == SURE
        latch = latch.see([], 1_000)
        assert latch.findings() == ()
        assert latch.defects(30_999, GROUP) == DOUBT
        assert latch.defects(31_000, GROUP) == ()

    def test_what_comes_back_soon_has_to_be_well_for_twice_as_long(self) -> None:
        latch = Latch(steady_ms=30_000)
        now = 0
        for times in (1, 2, 4, 8, 16, 20, 20):
            latch = latch.see([LOST], now).see([], now + 1)
            well = now + 1 + times * 30_000
            assert latch.defects(well - 1, GROUP) == DOUBT, times
            assert latch.defects(well, GROUP) == (), times
            now = well

    def test_what_comes_back_late_begins_anew(self) -> None:
        latch = Latch(steady_ms=30_000).see([LOST], 0).see([], 1)
        latch = latch.see([], 200_000).see([LOST], 300_000).see([], 300_001)
        assert latch.defects(330_001, GROUP) == ()

    def test_it_is_sure_when_it_has_lasted(self) -> None:
        slow = replace(LOST, sure_ms=5_000)
        latch = Latch(steady_ms=1).see([slow], 0).see([slow], 4_999)
        assert latch.defects(4_999, GROUP) == DOUBT
        assert latch.see([slow], 5_000).defects(5_000, GROUP) == SURE

    def test_a_suspicion_is_told_to_nobody(self) -> None:
        latch = Latch(steady_ms=1).see([replace(LOST, severity=Severity.SUSPICION)], 0)
        assert latch.findings() == ()
        assert latch.defects(0, GROUP) == SURE

    def test_it_counts_for_its_groups_only(self) -> None:
        latch = Latch(steady_ms=1).see([replace(LOST, groups=frozenset({GroupId("x")}))], 0)
        assert latch.defects(0, GROUP) == ()
        assert latch.defects(0, GroupId("x")) == SURE
