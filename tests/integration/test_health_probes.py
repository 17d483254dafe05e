"""Probes on real disks and sockets: full, gone and hanging volumes, pings both ways."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.hanging_disk import hanging_disk
from fakes.pki import cluster_pki
from fakes.small_disk import fill, small_disk
from fakes.trio import DEFAULT, A, trio_config
from staqraft.config.schema import Config, DiskHealth, Health, Tree
from staqraft.daemon.clock import boottime_ms
from staqraft.health import host
from staqraft.health.disks import VolumeLook, judge
from staqraft.health.ping import Pinger
from staqraft.health.prober import Prober

PATIENCE_S = 60.0
LIMITS = DiskHealth(interval_ms=50, slow_ms=200, hung_ms=400)


def config_of(directory: Path, *trees: Path) -> Config:
    config = trio_config(A, cluster_pki(), directory, control_port=7400)
    for path in (config.state_dir, config.run_dir, config.group_dir(DEFAULT)):
        path.mkdir(parents=True)
    group = replace(
        config.groups[DEFAULT],
        trees=tuple(Tree(name=f"tree{n}", path=path) for n, path in enumerate(trees)),
    )
    return replace(config, groups={DEFAULT: group}, health=Health(disk=LIMITS))


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - nothing tells when the kernel is done
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def probing(config: Config) -> AsyncIterator[Prober]:
    prober = Prober(config, now_ms=boottime_ms)
    task = asyncio.create_task(prober.run())
    try:
        yield prober
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def look_of(prober: Prober, path: Path) -> VolumeLook | None:
    return next((look for look in prober.looks() if look.path == str(path)), None)


def measured(prober: Prober, path: Path) -> bool:
    """Whether a look at the volume has come to its end; before that nothing is known."""
    look = look_of(prober, path)
    return look is not None and look.took_ms is not None


def codes(prober: Prober, path: Path) -> list[str]:
    look = look_of(prober, path)
    return [] if look is None else [finding.code for finding in judge(look, LIMITS, A)]


async def test_what_is_on_one_volume_is_written_to_once(tmp_path: Path) -> None:
    tree = tmp_path / "www"
    tree.mkdir()
    config = config_of(tmp_path, tree)
    async with probing(config) as prober:
        await until(lambda: len(prober.looks()) == 1 and prober.looks()[0].took_ms is not None)
        (look,) = prober.looks()
        assert look.error == ""
        assert look.size > 0
        assert look.groups == frozenset()  # the state directory is everybody's
    # Nothing is left behind, and no directory's time is another.
    assert list(tree.iterdir()) == []


async def test_a_full_volume_and_one_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with small_disk(tmp_path / "small", 512) as small:
        ballast = fill(small)
        async with probing(config_of(tmp_path, small, gone)) as prober:
            await until(lambda: codes(prober, small) == ["disk-full"])
            await until(lambda: codes(prober, gone) == ["disk-failed"])
            look = look_of(prober, small)
            assert look is not None
            assert look.groups == {DEFAULT}
            ballast.unlink()
            await until(lambda: (found := look_of(prober, small)) and found.error == "")


async def test_a_directory_that_we_make_ourselves_is_not_missed(tmp_path: Path) -> None:
    """At the first start the group's own is not there yet, and that is no broken disk."""
    config = config_of(tmp_path)
    config.group_dir(DEFAULT).rmdir()
    async with probing(config) as prober:
        await until(lambda: measured(prober, config.state_dir))
        assert [look.path for look in prober.looks()] == [str(config.state_dir)]
        await until(lambda: codes(prober, config.state_dir) == [])


async def test_journal_and_raft_may_have_volumes_of_their_own(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    journal, raft = config.group_dir(DEFAULT) / "journal", config.state_dir / "raft"
    with small_disk(journal, 512), small_disk(raft, 512):
        fill(journal)
        async with probing(config) as prober:
            await until(lambda: codes(prober, journal) == ["disk-full"])
            await until(lambda: measured(prober, raft))
            assert look_of(prober, journal).groups == {DEFAULT}  # type: ignore[union-attr]
            assert look_of(prober, raft).groups == frozenset()  # type: ignore[union-attr]


async def test_a_volume_whose_first_directory_is_gone_is_anothers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 512) as small:
        www, mail = small / "www", small / "mail"
        www.mkdir()
        mail.mkdir()
        async with probing(config_of(tmp_path, www, mail)) as prober:
            await until(lambda: measured(prober, www) and look_of(prober, mail) is None)
            www.rmdir()
            await until(lambda: codes(prober, www) == ["disk-failed"])
            await until(lambda: measured(prober, mail) and codes(prober, mail) != ["disk-failed"])
            fill(mail)
            await until(lambda: codes(prober, mail) == ["disk-full"])


def waiting_in_the_kernel(config: Config) -> int:
    """How many threads of the program that runs are held by a disk.

    One that was killed and could not end has no command line any more.
    """
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if str(config.run_dir).encode() in (process / "cmdline").read_bytes().split(b"\0"):
                states = [
                    task.read_text().rpartition(")")[2] for task in process.glob("task/*/stat")
                ]
                found += sum(state.split()[0] == "D" for state in states)
    return found


async def test_a_disk_that_hangs_holds_nobody_up_and_gets_no_second_probe(tmp_path: Path) -> None:
    healthy = tmp_path / "www"
    healthy.mkdir()
    with hanging_disk(tmp_path) as disk:
        mail = disk.path / "mail"
        mail.mkdir()
        config = config_of(tmp_path, healthy, disk.path, mail)
        async with probing(config) as prober:
            await until(lambda: codes(prober, disk.path) in ([], ["disk-full"], ["disk-space"]))
            await until(lambda: measured(prober, disk.path))
            disk.hang()
            await until(lambda: codes(prober, disk.path) == ["disk-hung"])
            await until(lambda: "disk-hung" not in codes(prober, config.state_dir))
            assert waiting_in_the_kernel(config) == 1
        # Its process cannot end, and was not waited for. Its successor does not write there, too,
        # by neither of the directories that are on it.
        async with probing(config) as successor:
            await until(lambda: codes(successor, disk.path) == ["disk-hung"])
            await until(lambda: codes(successor, mail) == ["disk-hung"])
            await until(lambda: measured(successor, config.state_dir))
            assert not measured(successor, disk.path)
            assert waiting_in_the_kernel(config) == 0
            disk.go_on()
            await until(lambda: measured(successor, disk.path))
            await until(lambda: "disk-hung" not in codes(successor, disk.path))


async def test_a_probe_that_is_killed_is_started_again(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    prober = Prober(config, now_ms=boottime_ms)
    await_first = asyncio.create_task(prober.run())
    await until(lambda: measured(prober, config.state_dir))
    await_first.cancel()
    await asyncio.gather(await_first, return_exceptions=True)
    await until(lambda: str(config.state_dir) in prober.silent())
    async with probing(config) as again:
        await until(lambda: measured(again, config.state_dir))
        await until(lambda: again.silent() == ())


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
class TestPings:
    async def pinged(self, one: str, other: str) -> None:
        here = Pinger(other, one, now_ms=boottime_ms)
        there = Pinger(one, other, now_ms=boottime_ms)
        try:
            here.ask()  # opens: what comes earlier is not for it
            there.ask()
            here.ask()
            await until(lambda: here.answered_ms is not None and there.heard_ms is not None)
            assert here.problem == ""
            assert here.round_trip_us is not None
            assert 0 < here.round_trip_us < 60_000_000
        finally:
            here.close()
            there.close()

    async def test_an_answer_says_both_ways_and_a_request_says_one(self) -> None:
        await self.pinged("127.0.2.1", "127.0.2.2")

    async def test_by_ipv6_as_well(self) -> None:
        await self.pinged("::1", "::1")

    async def test_why_it_cannot_be_sent_is_kept(self) -> None:
        pinger = Pinger("127.0.2.2", "192.0.2.77", now_ms=boottime_ms)
        pinger.ask()
        assert pinger.problem == "Cannot assign requested address"
        assert pinger.answered_ms is None

    async def test_strangers_pings_and_answers_to_others_are_not_taken(self) -> None:
        here = Pinger("127.0.2.2", "127.0.2.1", now_ms=boottime_ms)
        here.ask()
        try:
            await until(lambda: here.answered_ms is not None)
            before = here.answered_ms
            here.take(b"\x45" + bytes(19) + b"\x00\x00\x00\x00\x00\x01\x00\x01" + bytes(16))
            here.take(b"\x45" + bytes(19) + b"\x08\x00\x00\x00\x00\x01\x00\x01" + bytes(16))
            here.take(b"\x45")
            here.take(b"")
            assert (here.answered_ms, here.heard_ms) == (before, None)
        finally:
            here.close()


def test_the_host_says_what_it_has() -> None:
    available, total = host.memory()
    assert 0 < available <= total
    assert host.interfaces()["127.0.0.1"] == host.Interface(name="lo", carrier=True)
    assert host.links(["lo", "nosuch0"]) == {"lo": True, "nosuch0": None}
    for address, interface in host.gateways():
        assert address
        assert interface
