"""A whole run finds what somebody breaks behind its back: none of its checks holds by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from chaos import report
from chaos.clocks import can_shift
from chaos.ground import Ground
from chaos.links import Cut
from chaos.nemesis import Nemesis
from chaos.plan import Fault, Step, single
from chaos.power import Power
from chaos.report import tell
from chaos.run import run
from lab import requirements
from lab.cluster import Kept
from lab.conftest import built
from lab.lab import Lab
from lab.layout import REPLICAS, VIP, VIP_INTERFACE

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def chaos_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """As of a run."""
    if not (requirements.loop_devices_work() and can_shift()):
        pytest.skip("chaos needs root, loop devices and a C compiler")
    yield from built(tmp_path_factory, apart=True)


class SecondHolder(Nemesis):
    """The witness answers for the VIP, too, for as long as it takes to be asked."""

    def __init__(self) -> None:
        super().__init__("second holder", "second holder", 3.0)

    def inject(self, ground: Ground) -> None:
        address = [f"{VIP}/32", "dev", VIP_INTERFACE]
        self._repairs.callback(ground.lab.run, "w", ["ip", "address", "del", *address])
        ground.lab.run("w", ["ip", "address", "add", *address])


class Thief(Nemesis):
    """Takes a mail and lines of a spool away that were acknowledged, as a user of the active may,
    and what is in quarantine, and changes a page that nobody touches.
    """

    def __init__(self) -> None:
        super().__init__("thief", "thief", 0.0)
        self.quarantined: list[Kept] = []

    def inject(self, ground: Ground) -> None:
        srv = Path(f"{ground.lab.root(ground.active)}/srv")
        (srv / "www" / "odd" / "private").chmod(0o644)
        spool = Path(f"{ground.lab.root(ground.active)}/var/mail/chaos-1")
        os.truncate(spool, spool.stat().st_size // 2)
        oldest = min(srv.glob("mail/*/new/*.chaos.lab"), key=lambda path: path.name)
        oldest.unlink()
        for node in REPLICAS:
            self.quarantined += ground.cluster.quarantine(node)
            with suppress(FileNotFoundError):
                ground.cluster.ctl(node, "quarantine", "drop", "--all")


def test_what_is_broken_on_purpose_is_found(
    chaos_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    only_here = (
        Fault(number=2, start_s=0.0, nemesis=Cut(("active", "standby"), 6.0, one_way=False)),
        Fault(number=3, start_s=0.5, nemesis=Power(["active"], 5.0)),
    )
    thief = Thief()
    steps = [single(1, SecondHolder()), Step(only_here), single(4, thief)]
    judgement = run(chaos_lab, steps, tell)
    found = [violation.text for violation in judgement.violations]

    def some(*words: str) -> list[str]:
        return [text for text in found if all(word in text for word in words)]

    assert thief.quarantined, "the former active had something to itself"
    assert some("two hosts answered for the VIP", "w")
    assert len(some("acknowledged, and it is not there", "mail ")) == 1
    assert len(some("acknowledged, and it is not there", "line ")) > 1
    assert some("is neither on the active nor in its quarantine")
    assert some("nobody touched it", "odd/private: mode")
    assert not some("not well again")
    report.print_violations(judgement, chaos_lab)
    told = capsys.readouterr().err
    assert "VIOLATION at" in told
    assert "fault 3: power cut of active" in told
