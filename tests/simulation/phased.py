"""Faults that strike in a phase of milliseconds: what it does takes long all of a sudden, and then

the data worker loses its journal's tail, or the lease cannot be renewed, or the action fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simulation.aimed import cut_ways, ways_of
from simulation.schedule import MS, S
from staqraft.decision.phases import Phase
from staqraft.model import NodeId

if TYPE_CHECKING:
    from simulation.fault import Fault
    from simulation.world import World

# What each does, for one of them to fail.
_ACTIONS: Final = {
    Phase.CAPTURING: "StartCapture",
    Phase.STARTING: "StartServices",
    Phase.ADDRESSING: "TakeVips",
    Phase.ADMITTING: "TakeVips",
    Phase.PREPARING: "Flush",
    Phase.DRAINING: "TakeVips",
    Phase.STOPPING: "StopServices",
    Phase.FLUSHING: "Flush",
    Phase.UNADDRESSING: "DropVips",
    Phase.RELEASING: "",
    Phase.FINISHING: "FinishData",
}
_PHASES: Final = tuple(_ACTIONS)
_LASTING_US: Final = 6 * S


def _in_phase(world: World, fault: Fault) -> None:
    """The next node that enters the phase is struck as it does."""
    number = int(fault.size * 1e6)
    phase = _PHASES[number % len(_PHASES)]
    way = number // len(_PHASES) % 3

    def strike(node: NodeId) -> None:
        world.checks.say(f"*** {node} is struck as it is {phase.value}, way {way}")
        world.disturbed()
        trouble = world.hosts[node].trouble
        if way == 2:
            trouble.failing.add(_ACTIONS[phase])
            world.undo_after(1 * S, lambda: trouble.failing.discard(_ACTIONS[phase]))
            return
        trouble.slow_ms = 3_000 if way == 0 else 9_000

        def fast() -> None:
            trouble.slow_ms = 0

        world.undo_after(_LASTING_US, fast)
        world.moments.later(50 * MS, lambda: breaks(node) if way == 0 else cut(node))

    def breaks(node: NodeId) -> None:
        world.hosts[node].kill_data()
        world.hosts[node].journal.power_off(fault.size)

    def cut(node: NodeId) -> None:
        cut_ways(world, ways_of(world, node, out=True, into=True), _LASTING_US)

    world.moments.when_entered(phase, strike)


APPLY: Final = {"in-phase": _in_phase}
