"""What counts as a fault: one that struck something; and that what should come of it does."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos import plan, volumes
from chaos.deeds import ClockStep, Stubborn, SwitchOver
from chaos.ground import FORGOTTEN, Ground, _runs
from chaos.nemesis import Nemesis, repeat
from chaos.plan import Fault, Step, draw, single
from chaos.power import Power
from chaos.processes import Kill, Restart, Stop
from chaos.promises import Promises
from chaos.run import Judgement, _asked_for_nothing, _time
from chaos.volumes import Dead, Full, Hang
from lab.errors import LabError
from lab.linux import boottime


class Struck(Nemesis):
    """Strikes, or finds nothing to strike."""

    def __init__(self, name: str, *, possible: bool = True) -> None:
        super().__init__(name, name, 0.0)
        self._possible = possible
        self.healed = False

    def inject(self, ground: Ground) -> None:
        if not self._possible:
            raise LabError("nothing there")

    def heal(self) -> None:
        self.healed = True


@dataclass(slots=True, kw_only=True)
class Still(Ground):
    """A pair whose hosts run nothing; no disk of theirs is really frozen, nothing is waited for."""

    held: list[float] = field(default_factory=list)

    def hold(self, seconds: float) -> None:
        if seconds:
            self.held.append(seconds)

    def freeze(self, host: str, volume: str) -> None:
        pass

    def thaw(self, host: str, volume: str) -> None:
        pass

    def processes(self, host: str, what: str) -> list[int]:
        return []


def ground(*, power: bool, serving: str | None = None) -> Still:
    lab: Any = SimpleNamespace(has_power=lambda _: power)
    views: Any = SimpleNamespace(serving=lambda: serving)
    return Still(lab=lab, cluster=cast("Any", None), views=views)


def overlapping(*nemeses: Nemesis) -> Step:
    return Step(
        tuple(Fault(number=n, start_s=n / 100, nemesis=one) for n, one in enumerate(nemeses, 1))
    )


def test_what_could_not_be_made_does_not_count_and_is_healed_all_the_same() -> None:
    done, impossible = Struck("done"), Struck("impossible", possible=False)
    judgement = Judgement()
    made = _time(ground(power=True), overlapping(done, impossible), judgement)
    assert [fault.nemesis for fault in made] == [done]
    assert Step(tuple(made)).kind == "done"
    assert impossible.healed
    assert any("fault 2 failed: nothing there" in text for _, text in judgement.deeds)


def test_a_step_whose_first_fault_cannot_be_made_is_an_error() -> None:
    with pytest.raises(LabError, match="fault 1, impossible, could not be made: nothing there"):
        _time(ground(power=True), single(1, Struck("impossible", possible=False)), Judgement())


@pytest.mark.parametrize(
    "nemesis",
    [
        Full("active", "data", 0.0),
        Hang("active", "data", 0.0),
        Restart("active", 0.0),
        ClockStep("active", 60, 0.0),
        Stubborn("active", "refusing", 0.0),
        Power(["active"], 0.0),
    ],
    ids=lambda nemesis: nemesis.kind,
)
def test_nothing_can_be_done_to_a_host_without_power(nemesis: Nemesis) -> None:
    with pytest.raises(LabError, match="a has no power"):
        nemesis.inject(ground(power=False))


def test_only_processes_that_are_there_can_be_killed_or_stopped() -> None:
    for nemesis in (Kill("active", "nginx"), Stop("active", "nginx", 0.0)):
        with pytest.raises(LabError, match="a has no process nginx"):
            nemesis.inject(ground(power=True))


def test_each_process_of_a_daemon_is_known_by_its_command_line() -> None:
    staqraftd = ["python3", "-m", "staqraft.cli.staqraftd", "--config", "/etc/staqraft.yaml"]
    trees = ["python3", "-m", "staqraft.cli.data", "trees", "--group", "default"]
    probe = ["python3", "-I", "-S", "/opt/staqraft/health/disk_probe.py", "/run/staqraft", "71"]
    found = [
        [name for name in ("trees", "stream", "disk_probe") if _runs(name, words)]
        for words in (staqraftd, trees, probe)
    ]
    assert found == [[], ["trees"], ["disk_probe"]]


def test_a_dead_disk_that_nobody_takes_over_from_is_a_violation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(volumes, "DEAD_FOR_S", 0.05)
    alone = ground(power=True, serving="a")
    Dead("journal").inject(alone)
    assert [v.text.partition(":")[0] for v in alone.found] == [
        "nobody took over from a dead disk (the journal), active (a)"
    ]
    taken_over = ground(power=True, serving="b")
    Dead("journal").inject(taken_over)
    assert taken_over.found == []
    assert taken_over.held == []


def test_a_disk_dies_when_the_other_replica_counts_as_well() -> None:
    lately = ground(power=True, serving="b")
    lately.steady_s = 100.0
    lately.calm_since = boottime() - 5.0
    Dead("data").inject(lately)
    (pause_s,) = lately.held
    assert FORGOTTEN * 100 - 65 < pause_s <= FORGOTTEN * 100 - 5


def test_a_switchover_that_was_all_and_was_refused_is_no_fault() -> None:
    refusing = ground(power=True)
    asked = [Fault(number=1, start_s=0.0, nemesis=SwitchOver())]
    assert _asked_for_nothing(refusing, asked, Judgement()) == asked
    refusing.refused.append((1.0, "the standby is not in sync"))
    judgement = Judgement()
    assert _asked_for_nothing(refusing, asked, judgement) == []
    assert "refused: the standby is not in sync" in judgement.deeds[0][1]


def test_what_cannot_be_done_again_and_again_is_told() -> None:
    tried: list[int] = []

    def strike() -> None:
        tried.append(1)
        raise LabError("it lost its power")

    end = repeat(strike, lambda: 0.001)
    try:
        while len(tried) < 3:  # it goes on all the same
            pass
    finally:
        with pytest.raises(LabError, match="could not be done again: it lost its power"):
            end()


def test_what_is_drawn_with_a_dead_disk_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [f"kind {n}" for n in range(5)]
    monkeypatch.setattr(
        plan, "MAKERS", (lambda _: Dead("data"), *(lambda _, k=k: Struck(k) for k in kinds))
    )
    for seed in range(10):
        found: Counter[str] = Counter()
        for step in islice(draw(seed), 40):
            found.update(fault.nemesis.kind.partition(" +")[0] for fault in step.faults)
        assert min(found[kind] for kind in kinds) >= max(found.values()) - 3


# --- the courier ----------------------------------------------------------------------------------


def promises(program: str) -> Promises:
    def popen(_host: str, _argv: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True)

    lab: Any = SimpleNamespace(popen=popen, module=lambda *_, **__: [])
    return Promises(lab, cast("Any", None))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(3)", "the courier ended with 3"),
        ("print('nonsense', flush=True); input()", "reading what the courier says has ended"),
    ],
)
def test_a_courier_that_ends_or_that_nobody_understands_is_noticed(
    program: str, words: str
) -> None:
    watched = promises(program)
    with pytest.raises(LabError, match=words):
        watched.wait_acknowledged(60.0)
    with pytest.raises(LabError, match=words):
        watched.stop()


def test_a_pair_that_acknowledges_nothing_is_noticed() -> None:
    watched = promises("input()")
    with pytest.raises(
        LabError, match="in vain for this: a mail, page or line of the client is ack"
    ):
        watched.wait_acknowledged(0.05)
    watched._end()
