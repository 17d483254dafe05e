"""Looks at this node and its networks once a second, and keeps what was found."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from staqraft.config.schema import GATEWAY, Config, Node, Ring
from staqraft.decision.defects import Defect
from staqraft.health import box, configs, disks, host, links, uplink, vips
from staqraft.health.disks import VolumeLook
from staqraft.health.exchange import Caller, HealthServicer, Partner
from staqraft.health.findings import BETWEEN, Finding, Latch
from staqraft.health.links import End, RingLook, RingState
from staqraft.health.ping import Pinger
from staqraft.health.prober import Prober
from staqraft.health.uplink import TargetLook
from staqraft.logs import Once, log_once
from staqraft.model import GroupId, NodeId, NodeRole
from staqraft.wire.v1 import health_pb2 as pb

logger = logging.getLogger(__name__)

_LOOK_AT_HOST_MS: Final = 2_000
_FRESH_MS: Final = 5_000
_LEAST_LOST_MS: Final = 6_000  # two calls in a row
_MILLI: Final = 1000

SilentWorker = tuple[GroupId, str, int]
"""A process of a data worker, and for how long it has been silent, in milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Host:
    """What the kernel said last."""

    memory: tuple[int, int]
    gateways: tuple[tuple[str, str], ...]
    interfaces: Mapping[str, host.Interface]
    links: Mapping[str, bool | None]  # of the interfaces of virtual addresses


class Monitor:
    """What is wrong with this replica, by its own probes and by the other's word."""

    def __init__(
        self,
        config: Config,
        *,
        version: str,
        fingerprint: str,
        groups: Callable[[], Iterable[pb.GroupHealth]],
        silent_workers: Callable[[], Iterable[SilentWorker]],
        reachable: Callable[[], Collection[NodeId]],
        looked: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        """`looked` is called after each look; `reachable`: who Raft is in touch with."""
        self._config = config
        self._version = version
        self._fingerprint = fingerprint
        self._settings = configs.digests(config)
        self._groups = groups
        self._silent_workers = silent_workers
        self._reachable = reachable
        self._looked = looked
        self._now_ms = now_ms
        self._prober = Prober(config, now_ms=now_ms)
        self.partners = {
            node: Partner(config.nodes[node], now_ms=now_ms)
            for node in config.replicas
            if node != config.node
        }
        self.servicer = HealthServicer(config, self.partners, self.told_to)
        self._witnesses = tuple(n for n in config.nodes.values() if n.role is NodeRole.WITNESS)
        self._rings = {
            (node.id, ring.name): Pinger(ring.address, mine.address, now_ms=now_ms)
            for node in (*(p.node for p in self.partners.values()), *self._witnesses)
            for mine, ring in _common(config.me.rings, node.rings)
        }
        self._vips = {group.id: group.vips for group in config.groups.values()}
        self._vip_interfaces = {vip.interface for some in self._vips.values() for vip in some}
        self._targets = {
            address: Pinger(address, now_ms=now_ms)
            for address in config.health.ping.targets
            if address != GATEWAY
        }
        self._host: _Host | None = None
        self._gateways: dict[str, str] = {}  # address: interface; the last that were known
        self._elsewhere: set[str] = set()  # targets that have answered another replica
        self._latch = Latch(steady_ms=config.health.steady_ms)
        self.rings: dict[NodeId, list[RingState]] = {}
        # A call that waits for the routing lock holds this thread, and no second one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="host-look")
        self._looking: Future[_Host] | None = None
        self._told = Once()
        self._look_ms = 0

    def volumes(self) -> tuple[VolumeLook, ...]:
        """The last look at each volume."""
        return self._prober.looks()

    async def run(self) -> None:
        """Look until cancelled."""
        me = self._config.node
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._prober.run())
                for node, partner in self.partners.items():
                    for _, ring in _common(self._config.me.rings, partner.node.rings):
                        if me > node:
                            caller = Caller(self._config, partner, ring, self.told_to)
                            tasks.create_task(caller.run())
                while True:
                    self._ask()
                    await asyncio.sleep(self._config.health.ping.interval_ms / _MILLI)
                    self.look()
        finally:
            for pinger in (*self._rings.values(), *self._targets.values()):
                pinger.close()
            self._thread.shutdown(wait=False, cancel_futures=True)

    # --- looking ------------------------------------------------------------------------------

    def _ask(self) -> None:
        self._look_at_host()
        if GATEWAY in self._config.health.ping.targets:
            for address in self._gateways:
                if address not in self._targets:
                    self._targets[address] = Pinger(address, now_ms=self._now_ms)
        for pinger in (*self._rings.values(), *self._targets.values()):
            pinger.ask()

    def _look_at_host(self) -> None:
        if self._looking is not None and self._looking.done():
            try:
                self._host = self._looking.result()
            except (OSError, ValueError, struct.error) as error:  # or another kernel's words
                sentence = f"this host cannot be looked at: {error}"
                log_once(self._told, sentence, logger, logging.WARNING, sentence)
            else:
                if self._host.gateways:
                    self._forget_gateways(dict(self._host.gateways))
            self._looking = None
        if self._looking is None and self._now_ms() >= self._look_ms:
            self._look_ms = self._now_ms() + _LOOK_AT_HOST_MS
            self._looking = self._thread.submit(_look_at_host, self._vip_interfaces)

    def _forget_gateways(self, now: dict[str, str]) -> None:
        """When the route goes with the link, the last gateway is still asked for."""
        for address in self._gateways.keys() - now.keys():
            if address not in self._config.health.ping.targets:
                self._targets.pop(address).close()
        self._gateways = now

    def look(self) -> None:
        """Judge what is known now."""
        now_ms = self._now_ms()
        for node in self.partners:
            self.rings[node] = list(self._judge_rings(node))
        self._latch = self._latch.see(self._findings(), now_ms)
        self._looked()

    def _findings(self) -> Iterator[Finding]:
        config, me = self._config, self._config.node
        limits = config.health
        for look in self._prober.looks():
            yield from disks.judge(look, limits.disk, me)
        for path in self._prober.silent():
            yield disks.unwatched(path, me, self._prober.problem or "its program says nothing")
        if self._host is not None:
            yield from box.judge_memory(*self._host.memory, limits.memory_percent, me)
            yield from vips.judge(self._vips, self._host.links, me)
        for group, part, silent_ms in self._silent_workers():
            yield from box.judge_worker(group, part, silent_ms, me)
        others = self._others_targets()
        yield from uplink.judge(self._target_looks(), limits.ping, me, others)
        for node, partner in self.partners.items():
            yield from (s.finding for s in self.rings.get(node, ()) if s.finding is not None)
            if self._is_fresh(partner) and (best := partner.clock.best) is not None:
                ahead_ms, round_trip_ms = (value / _MILLI for value in best)
                yield from box.judge_clock(ahead_ms, round_trip_ms, limits.clock_ms, me, node)
            yield from self._judge_config(node, partner)
        for witness in self._witnesses:
            yield from self._judge_witness(witness)

    def _judge_witness(self, witness: Node) -> Iterator[Finding]:
        """Where Raft does not reach it: why. It says nothing of itself, but its host answers."""
        if witness.id in self._reachable():
            return
        now_ms, me = self._now_ms(), self._config.node
        looks = [
            RingLook(
                ring=mine.name,
                mine=self._end(mine.address),
                peer_address=theirs.address,
                answered_ms=_age(pinger.answered_ms, now_ms),
                problem=pinger.problem,
                asked_for_ms=now_ms - pinger.since_ms,
            )
            for mine, theirs in _common(self._config.me.rings, witness.rings)
            for pinger in (self._rings[witness.id, mine.name],)
        ]
        states = links.judge(looks, self._lost_ms(), me, witness.id, daemon=False)
        first = next((state.finding for state in states if state.finding is not None), None)
        if first is None or first.code in {"daemon-silent", "peer-silent"}:
            yield from (one for one in (first,) if one is not None)
        else:  # of a link, which does not say who is behind it
            text = f"{me} does not hear {witness.id}: {first.text}"
            yield replace(first, code="peer-silent", text=text)

    def _lost_ms(self) -> int:
        return max(self._config.health.ping.lost_after_ms, _LEAST_LOST_MS)

    def _others_targets(self) -> dict[NodeId, dict[str, bool]]:
        """Which targets the other replica says that it reaches now."""
        others = {
            node: {target.address: target.answers for target in partner.said.targets}
            for node, partner in self.partners.items()
            if partner.said is not None and self._is_fresh(partner)
        }
        for seen in others.values():
            self._elsewhere |= {address for address, answers in seen.items() if answers}
        return others

    def _judge_config(self, node: NodeId, partner: Partner) -> Iterator[Finding]:
        """By what it said last, however long ago: it matters when it is gone."""
        said = partner.said
        if said is None or said.version != self._version or not said.settings:
            return
        if said.config_fingerprint != self._fingerprint:
            yield from configs.judge(self._settings, said.settings, self._config.node, node)

    def _is_fresh(self, partner: Partner) -> bool:
        return partner.said is not None and self._now_ms() - partner.said_ms < _FRESH_MS

    def _target_looks(self) -> list[TargetLook]:
        now_ms = self._now_ms()
        return [
            TargetLook(
                address=address,
                answered_ms=_age(pinger.answered_ms, now_ms),
                asked_for_ms=now_ms - pinger.since_ms,
                way=self._way(address) or pinger.problem,
                gateway=address in self._gateways
                and address not in self._config.health.ping.targets,
                elsewhere=address in self._elsewhere,
            )
            for address, pinger in self._targets.items()
        ]

    def pings(self) -> Iterator[tuple[str, bool, int | None]]:
        """Targets and witnesses by their addresses: whether each answers, and its last round trip
        in microseconds.
        """
        witnesses = {node.id for node in self._witnesses}
        on_rings = [pinger for (node, _), pinger in self._rings.items() if node in witnesses]
        now_ms = self._now_ms()
        for pinger in (*self._targets.values(), *on_rings):
            age_ms = _age(pinger.answered_ms, now_ms)
            answers = age_ms is not None and age_ms < self._config.health.ping.lost_after_ms
            yield pinger.address, answers, pinger.round_trip_us

    def _way(self, address: str) -> str:
        """What is wrong with the interface that leads to a gateway."""
        if self._host is None or address not in self._gateways:
            return ""
        name = self._gateways[address]
        known = {i.name: i.carrier for i in self._host.interfaces.values()}
        if not known.get(name, False):
            return f"its interface {name} has no link"
        return "" if self._host.gateways else "it has no default route any more"

    # --- rings ----------------------------------------------------------------------------------

    def _judge_rings(self, node: NodeId) -> Iterator[RingState]:
        partner = self.partners[node]
        looks = [
            self._ring_look(partner, mine, ring)
            for mine, ring in _common(self._config.me.rings, partner.node.rings)
        ]
        return links.judge(
            looks, self._lost_ms(), self._config.node, node, daemon=node in self._reachable()
        )

    def _ring_look(self, partner: Partner, mine: Ring, theirs: Ring) -> RingLook:
        now_ms = self._now_ms()
        name = mine.name
        pinger = self._rings[partner.node.id, name]
        sight = None
        if partner.said is not None and self._is_fresh(partner):
            sight = next((s for s in partner.said.rings if s.ring == name), None)
        heard_ms = None
        if sight is not None and sight.HasField("heard_ms"):
            heard_ms = sight.heard_ms + now_ms - partner.said_ms
        round_trip_us = partner.round_trip_us.get(name)
        return RingLook(
            ring=name,
            mine=self._end(mine.address),
            peer_address=theirs.address,
            answered_ms=_age(pinger.answered_ms, now_ms),
            heard_ms=_age(pinger.heard_ms, now_ms),
            called_ms=_age(partner.called_ms.get(name), now_ms),
            peer_end=End(address=sight.address, interface=sight.interface, carrier=sight.carrier)
            if sight is not None
            else None,
            peer_heard_ms=heard_ms,
            problem=pinger.problem,
            asked_for_ms=now_ms - pinger.since_ms,
            round_trip_ms=round_trip_us / _MILLI if round_trip_us is not None else None,
        )

    def _end(self, address: str) -> End:
        if self._host is None:
            return End(address=address, interface="the interface")
        found = self._host.interfaces.get(address)
        if found is None:
            return End(address=address)
        return End(address=address, interface=found.name, carrier=found.carrier)

    # --- telling --------------------------------------------------------------------------------

    def defects(self, group: GroupId) -> tuple[Defect, ...]:
        """What makes this node less fit to serve the group."""
        return self._latch.defects(self._now_ms(), group)

    def findings(self) -> list[pb.Finding]:
        """What is wrong, the gravest first."""
        now_ms = self._now_ms()
        return [
            pb.Finding(
                code=finding.code,
                subject=finding.subject,
                severity=finding.severity.name.lower(),
                text=finding.text,
                remedy=finding.remedy,
                lasts_ms=now_ms - since_ms,
                node=self._config.node,
            )
            for finding, since_ms in self._latch.findings()
        ]

    def findings_of_others(self) -> Iterator[pb.Finding]:
        """What another replica finds about itself, by its word of just now."""
        for partner in self.partners.values():
            if partner.said is not None and self._is_fresh(partner):
                yield from (f for f in partner.said.findings if f.code not in BETWEEN)

    def told_to(self, addressee: NodeId) -> pb.NodeHealth:
        """What another replica is told."""
        partner = self.partners[addressee]
        said = partner.said
        differs = said is not None and said.config_fingerprint != self._fingerprint
        return pb.NodeHealth(
            node=self._config.node,
            version=self._version,
            config_fingerprint=self._fingerprint,
            findings=self.findings(),
            groups=self._groups(),
            rings=[self._sight(partner, mine) for mine, _ in self._common_with(partner)],
            targets=[
                pb.TargetSight(
                    address=look.address,
                    answers=look.answered_ms is not None
                    and look.answered_ms < self._config.health.ping.lost_after_ms,
                )
                for look in self._target_looks()
            ],
            settings=self._settings if differs else {},
        )

    def _common_with(self, partner: Partner) -> list[tuple[Ring, Ring]]:
        return _common(self._config.me.rings, partner.node.rings)

    def _sight(self, partner: Partner, mine: Ring) -> pb.RingSight:
        end = self._end(mine.address)
        pinger = self._rings[partner.node.id, mine.name]
        return pb.RingSight(
            ring=mine.name,
            address=mine.address,
            interface=end.interface,
            carrier=end.carrier,
            heard_ms=_age(pinger.heard_ms, self._now_ms()),
        )


def _common(mine: Iterable[Ring], theirs: Iterable[Ring]) -> list[tuple[Ring, Ring]]:
    by_name = {ring.name: ring for ring in theirs}
    return [(ring, by_name[ring.name]) for ring in mine if ring.name in by_name]


def _age(at_ms: int | None, now_ms: int) -> int | None:
    return None if at_ms is None else now_ms - at_ms


def _look_at_host(vip_interfaces: Iterable[str]) -> _Host:
    return _Host(
        memory=host.memory(),
        gateways=host.gateways(),
        interfaces=host.interfaces(),
        links=host.links(vip_interfaces),
    )
