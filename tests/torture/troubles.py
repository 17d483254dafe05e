"""What goes wrong: each takes a ground and dice, and has put an end to itself when it returns.

A process that was killed is running again then, and has been told its role.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Awaitable, Callable

from fakes.data_pair import DataNode
from torture.ground import Ground, group_dir, patiently
from torture.relay import Link

_NAMES = (("trees",), ("stream",), ("trees", "stream"))
_HOUR_MS = 3_600_000
_REWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK


async def cause(ground: Ground, kind: str, number: int) -> None:
    """One trouble."""
    await _TABLE[kind](ground, random.Random(number))


def _node(ground: Ground, dice: random.Random) -> DataNode:
    return dice.choice((ground.active, ground.standby))


async def _pause(dice: random.Random, most_s: float) -> None:
    await asyncio.sleep(dice.random() ** 2 * most_s)


async def _revive(ground: Ground, node: DataNode) -> None:
    await patiently(lambda: ground.revive(node), f"{node.node} takes its role again")


async def _kill(ground: Ground, dice: random.Random) -> None:
    node = _node(ground, dice)
    ground.kill(node, *dice.choice(_NAMES))
    await _pause(dice, 1.0)
    await _revive(ground, node)


async def _kill_again(ground: Ground, dice: random.Random) -> None:
    node, names = _node(ground, dice), dice.choice(_NAMES)
    for _ in range(dice.choice((2, 3))):
        ground.kill(node, *names)
        beginning = asyncio.ensure_future(ground.revive(node))
        await _pause(dice, 2.0)
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
    await _revive(ground, node)


async def _stop(ground: Ground, dice: random.Random) -> None:
    node = _node(ground, dice)
    for name in dice.choice(_NAMES):
        ground.signal(node, name, signal.SIGTERM)
        await asyncio.to_thread(node.processes[name].wait, 60)
    await _revive(ground, node)


async def _freeze(ground: Ground, dice: random.Random) -> None:
    node, name = _node(ground, dice), dice.choice(("trees", "stream"))
    ground.signal(node, name, signal.SIGSTOP)
    await _pause(dice, 3.0)
    ground.signal(node, name, signal.SIGCONT)


async def _links(ground: Ground, dice: random.Random, link: Link) -> None:
    rings = dice.choice((("sync",), ("service",), ("sync", "service")))
    for ring in rings:
        await ground.link(ring, link)
    await _pause(dice, 4.0)
    if dice.random() < 0.5 and len(rings) == 1:  # the other one goes when the first comes back
        other = "service" if rings == ("sync",) else "sync"
        await ground.link(rings[0], Link.UP)
        await ground.link(other, link)
        rings = (other,)
        await _pause(dice, 3.0)
    for ring in rings:
        await ground.link(ring, Link.UP)


async def _cut(ground: Ground, dice: random.Random) -> None:
    await _links(ground, dice, Link.CUT)


async def _hang(ground: Ground, dice: random.Random) -> None:
    await _links(ground, dice, Link.FROZEN)


async def _fill(ground: Ground, dice: random.Random) -> None:
    node, volume = _node(ground, dice), dice.choice(("state", "disk"))
    await asyncio.to_thread(ground.fill, node, volume)
    await _pause(dice, 4.0)
    if dice.random() < 0.3:
        name = dice.choice(("trees", "stream"))
        ground.kill(node, name)
        node.start(name)
    ground.empty(node, volume)
    await _revive(ground, node)


async def _clock(ground: Ground, dice: random.Random) -> None:
    ahead = dice.choice((-24, -1, 1, 24, 24 * 30)) * _HOUR_MS
    ground.set_clock(_node(ground, dice), ahead)


async def _away(ground: Ground, dice: random.Random) -> None:
    """Longer than the journal reaches back."""
    for ring in ("sync", "service"):
        await ground.link(ring, Link.CUT)
    written = ground.active.tree / "written-meanwhile"
    for piece in range(dice.choice((2, 12))):
        # A writer may have moved a FIFO there: who opens one waits for a reader, if not told else.
        with (
            contextlib.suppress(OSError),
            os.fdopen(os.open(written, _REWRITE, 0o644), "wb") as file,
        ):
            file.write(random.Random(piece).randbytes(1 << 20))
        await asyncio.sleep(0.1)
    for ring in ("sync", "service"):
        await ground.link(ring, Link.UP)


async def _power(ground: Ground, dice: random.Random) -> None:
    """A standby's processes are gone, and its boot is another one. (The page cache stays.)"""
    node = ground.standby
    ground.kill(node, "trees", "stream")
    with contextlib.closing(sqlite3.connect(group_dir(node) / "index.sqlite")) as index:
        index.execute(
            "UPDATE meta SET value='standby@before' WHERE key='role' AND value LIKE 'standby@%'"
        )
        index.execute(
            "UPDATE meta SET value='joining@before' WHERE key='role' AND value LIKE 'joining@%'"
        )
        index.commit()
    (group_dir(node) / "applied").unlink(missing_ok=True)
    await _pause(dice, 1.0)
    await _revive(ground, node)


async def _damage(ground: Ground, dice: random.Random) -> None:
    node = _node(ground, dice)
    if dice.random() < 0.4:
        ground.kill(node, "trees")
        node.damage_index()
    else:
        ground.kill(node, "trees", "stream")
        segments = sorted((group_dir(node) / "journal").glob("*.seg"))
        if segments:
            _scribble(os.fspath(dice.choice(segments)), dice)
    await _revive(ground, node)


def _scribble(path: str, dice: random.Random) -> None:
    """Bytes in the middle are others now."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(dice.randrange(size))
        file.write(dice.randbytes(dice.choice((1, 20, 5000))))


async def _compare(ground: Ground, dice: random.Random) -> None:
    """A comparison of a standby that knows nothing, and something happens in the middle."""
    node = ground.standby
    ground.kill(node, "trees")
    node.damage_index()
    await _revive(ground, node)
    for _ in range(dice.choice((1, 2, 3))):
        await _pause(dice, 1.5)
        kind = dice.choice((_kill, _kill, _cut, _hang, _stop))
        await kind(ground, dice)


_TABLE: dict[str, Callable[[Ground, random.Random], Awaitable[None]]] = {
    "kill": _kill,
    "kill-again": _kill_again,
    "stop": _stop,
    "freeze": _freeze,
    "cut": _cut,
    "hang": _hang,
    "fill": _fill,
    "clock": _clock,
    "away": _away,
    "power": _power,
    "damage": _damage,
    "compare": _compare,
}
