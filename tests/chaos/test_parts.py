"""The parts of a chaos run that need no lab."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from chaos import main
from chaos.clocks import true_times
from chaos.history import violations
from chaos.main import again, parser, steps
from chaos.plan import FENCES, MAKERS, Step, draw
from chaos.promises import epoch_before
from chaos.report import by_kind
from chaos.run import Judgement, Struck, _unwatched, ops_of
from chaos.trace import of_log
from chaos.volumes import LEAST_BYTES, fill
from lab.linux import boottime
from lab.views import History, View


def names(seed: int, count: int, *, devices: bool = False) -> list[str]:
    return [
        str(fault) for step in islice(draw(seed, devices=devices), count) for fault in step.faults
    ]


def test_a_seed_draws_the_same_faults_again_and_another_seed_draws_others() -> None:
    assert names(7, 100) == names(7, 100)
    assert names(7, 100) != names(8, 100)


def test_a_long_run_has_every_kind_and_faults_that_overlap() -> None:
    drawn = list(islice(draw(1, devices=True), 200))
    kinds = {kind for step in drawn for fault in step.faults for kind in fault.nemesis.kinds}
    processes = ("staqraftd", "trees", "stream", "disk_probe", "nginx", "mailer")
    volumes = ("data", "journal", "raft")
    assert kinds >= {
        *(f"{what} {process}" for what in ("kill", "stop") for process in processes),
        *(f"{what} disk: {volume}" for what in ("full", "hung", "dead") for volume in volumes),
        *(f"fence device {mood}" for mood in ("refusing", "hanging", "lying")),
        *(f"service that cannot stop ({mood})" for mood in ("refusing", "hanging")),
        *(f"power cut of {host}" for host in ("active", "standby", "w")),
        *("one-way cut", "two-way cut", "flapping link", "flapping link, one way"),
        *("wall clock steps forward", "wall clock steps back", "restart in order", "switchover"),
    }
    overlapping = [step for step in drawn if len(step.faults) > 1]
    assert 60 < len(overlapping) < 140
    assert any(
        step.faults[1].start_s < step.faults[0].end_s
        and step.faults[1].end_s > step.faults[0].end_s
        for step in overlapping
    )


def test_a_fence_device_fails_just_when_it_is_needed() -> None:
    drawn = [
        fault.nemesis.kinds for step in islice(draw(2, devices=True), 200) for fault in step.faults
    ]
    failures = [kinds for kinds in drawn if any("fence device" in kind for kind in kinds)]
    assert len(failures) > 5
    assert all({"stop host", "isolation of the active"} & {*kinds} for kinds in failures)


def test_no_kind_comes_again_before_all_have_come() -> None:
    for devices, count in ((False, len(MAKERS)), (True, len(MAKERS) + len(FENCES))):
        steps_, faults = draw(3, devices=devices), 0
        while faults < count - 6:  # the last step may reach into the next round
            faults += len(next(steps_).faults)
        assert faults <= count


def flat(drawn: list[Step]) -> list[str]:
    return [str(fault) for step in drawn for fault in step.faults]


def test_the_command_that_a_failure_prints_draws_what_was_done() -> None:
    words = ["--minutes", "5", "--seed", "9", "--devices", "--without", "kill nginx"]
    done = list(islice(steps(parser().parse_args(words), 9), 12))
    last = done[-1].faults[-1].number
    repeated = again(parser().parse_args(words), 9, last).split(maxsplit=1)[1]
    arguments = parser().parse_args(
        ["--faults", str(last), "--seed", "9", "--devices", "--without", "kill nginx"]
    )
    assert repeated == f"--faults {last} --seed 9 --devices --without 'kill nginx'"
    assert flat(list(steps(arguments, 9))) == flat(done)


def test_a_plan_with_nothing_in_it_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["chaos", "--plan", "--faults", "3", "--only", "no such"])
    assert main.main() == 2
    assert "no step among 3 faults" in capsys.readouterr().err


def test_a_run_that_looked_at_nothing_has_shown_nothing() -> None:
    assert len(_unwatched(Judgement())) == 3
    assert _unwatched(Judgement(acknowledged=1, questions=1, views=1)) == []


def test_faults_can_be_left_out_at_the_beginning() -> None:
    all_of_them = parser().parse_args(["--faults", "30"])
    rest = parser().parse_args(["--faults", "10", "--first", "21"])
    wanted = [step for step in steps(all_of_them, 4) if step.faults[-1].number >= 21]
    assert flat(list(steps(rest, 4))) == flat(wanted)


def test_others_are_drawn_for_faults_that_could_not_be_made() -> None:
    arguments = parser().parse_args(["--faults", "20"])
    drawn: list[Step] = []
    for step in steps(arguments, 4, lambda: min(len(drawn), 7)):
        drawn.append(step)  # noqa: PERF402 - how many there are is looked at meanwhile
    assert 27 <= drawn[-1].faults[-1].number < 27 + 6, "a step has six faults at most"
    assert flat(drawn) == flat(list(steps(parser().parse_args(["--faults", "27"]), 4)))


def test_faults_can_be_had_alone() -> None:
    arguments = parser().parse_args(["--faults", "200", "--only", "kill nginx", "--alone"])
    found = list(steps(arguments, 4))
    assert found
    assert [len(step.faults) for step in found] == [1] * len(found)
    assert " --alone" in again(arguments, 4, 60)


def view(node: str, **changes: object) -> View:
    fields: dict[str, object] = {
        "node": node, "life": 1, "begun": 1.0, "ended": 1.1, "epoch": 2, "active": "b",
        "phase": "standby", **changes,
    }  # fmt: skip
    return View(**fields)  # type: ignore[arg-type] # names are checked by the constructor


def complaints(*views: View) -> list[str]:
    ops = [op for each in views for op in ops_of(each)]
    return [violation.text.partition(":")[0] for violation in violations(ops)]


def test_a_standby_that_has_the_address_is_seen_in_its_own_words() -> None:
    assert not complaints(view("a"))
    assert complaints(view("a", holds_vip=True)) == ["a node claims another's epoch"]


def test_two_that_lead_one_after_the_other_in_the_wrong_order_are_seen() -> None:
    new = view("b", phase="active", lease_left_ms=900)

    def old(begun: float) -> View:
        leads: dict[str, object] = {"phase": "active", "lease_left_ms": 10}
        return view("a", epoch=1, active="a", begun=begun, ended=begun + 0.1, **leads)

    assert not complaints(old(0.5), new)
    assert not complaints(old(1.0), new)  # asked at the same time, they may have come in any order
    assert complaints(new, old(1.2)) == ["an old epoch is used"]


def test_a_daemon_that_has_heard_nothing_yet_says_nothing() -> None:
    assert ops_of(view("a", epoch=0, active="", phase="startup", holds_vip=True)) == []


def test_of_many_equal_views_the_first_and_the_last_are_kept() -> None:
    history = History()
    for at in (1.0, 2.0, 3.0, 4.0):
        history.add(view("a", begun=at, ended=at + 0.1, lease_left_ms=int(at)))
    history.add(view("a", begun=5.0, ended=5.1, epoch=3))
    assert [kept.begun for kept in history.views] == [1.0, 4.0, 5.0]
    assert history.taken == 5


def test_what_was_sent_belongs_to_the_epoch_in_which_its_host_served_before() -> None:
    serves = {"active": "a", "phase": "active", "holds_vip": True}
    views = [
        view("a", ended=1.0, epoch=3, **serves),
        view("a", ended=2.0, epoch=4, active="b"),
        view("a", ended=3.0, epoch=5, **serves),
    ]
    assert [epoch_before(views, at) for at in (0.5, 1.5, 2.5, 3.5)] == [0, 3, 0, 5]


def struck(kind: str, outage_s: float) -> Struck:
    return Struck(
        number=1, faults=1, kind=kind, name=kind, active="a", since=1.0, healed=2.0, well=5.0,
        outage_s=outage_s,
    )  # fmt: skip


def test_outages_are_reported_by_kind_of_fault() -> None:
    table = by_kind([struck("power", 3.0), struck("kill", 0.1), struck("power", 3.5)])
    assert (table["power"][0].count, table["power"][0].max) == (2, 3.5)
    assert (table["kill"][0].p50, table["kill"][1].max) == (0.1, 3.0)


def test_stamps_of_a_clock_that_jumped_are_put_right() -> None:
    forward_and_back = [(10.0, 3600.0), (20.0, 0.0)]
    assert true_times([9.0, 3611.0, 3619.5, 21.0], forward_and_back) == [9.0, 11.0, 19.5, 21.0]
    back = [(10.0, -60.0), (20.0, 0.0)]
    assert true_times([9.0, -49.0, -41.0, 21.0], back) == [9.0, 11.0, 19.0, 21.0]
    assert true_times([1.0, 2.0], []) == [1.0, 2.0]


LOG = """--- staqraftd: start 1: staqraftd
2026-11-23 04:00:01.500 info    daemon.loop: group default: standby -> acquiring in epoch 4: why
2026-11-23 04:00:01.600 info    daemon.loop: group default: nothing special
2026-11-23 04:00:02.000 warning consensus.transport: something is odd
--- staqraftd: ended with -9
"""


def test_a_trace_has_phases_warnings_and_ends() -> None:
    lines = of_log("a", LOG.splitlines(), 0.0, [])
    assert [line.text.split(":")[0] for line in lines] == ["a", "a", "a"]
    assert "acquiring" in lines[0].text
    assert "odd" in lines[1].text
    assert "ended with -9" in lines[2].text
    assert round(lines[1].at - lines[0].at, 3) == 0.5
    assert lines[2].at == lines[1].at


def test_a_volume_that_is_filled_has_no_block_left(small_volume: Path) -> None:
    begun = boottime()
    filler = small_volume / "filler"
    fill(filler)
    assert boottime() - begun < 60
    with pytest.raises(OSError, match="No space"):
        (small_volume / "more").write_bytes(b"x" * 2 * LEAST_BYTES)
    filler.unlink()
    (small_volume / "more").write_bytes(b"x" * 2 * LEAST_BYTES)
