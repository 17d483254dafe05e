"""Joins the health monitor with the decision cores: what is found becomes events, and status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from staqraft import __version__
from staqraft.config.schema import Config
from staqraft.consensus.group import Group as RaftGroup
from staqraft.daemon.loop import GroupLoop
from staqraft.decision.defects import Defect
from staqraft.decision.eligibility import Against, refusals
from staqraft.health.exchange import Partner
from staqraft.health.links import Way
from staqraft.health.monitor import Monitor, SilentWorker
from staqraft.metrics import HealthMetrics, LinkSample, PingSample, VolumeSample
from staqraft.model import GroupId
from staqraft.wire.v1 import admin_pb2
from staqraft.wire.v1 import health_pb2 as pb


class Health:
    """How this replica and the other one are, for the loops of its groups and for status."""

    def __init__(
        self,
        config: Config,
        raft: RaftGroup,
        loops: Mapping[GroupId, GroupLoop],
        *,
        fingerprint: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._raft = raft
        self._loops = loops
        self._now_ms = now_ms
        self._silent_since: dict[tuple[GroupId, str], int] = {}
        self.monitor = Monitor(
            config,
            version=__version__,
            fingerprint=fingerprint,
            groups=self._groups,
            silent_workers=self._silent_workers,
            reachable=lambda: raft.status().reachable,
            looked=self._looked,
            now_ms=now_ms,
        )

    async def run(self) -> None:
        """Look until cancelled."""
        await self.monitor.run()

    # --- for the cores --------------------------------------------------------------------------

    def _looked(self) -> None:
        for group, loop in self._loops.items():
            loop.tell_health(self._config.node, self.monitor.defects(group))
            for node, partner in self.monitor.partners.items():
                said = _of_group(partner, group)
                if said is not None:
                    loop.tell_health(
                        node,
                        tuple(map(_defect, said.defects)),
                        ready=not said.refusals,
                        age_ms=self._now_ms() - partner.said_ms,
                    )

    def _silent_workers(self) -> Iterator[SilentWorker]:
        now_ms = self._now_ms()
        for group, loop in self._loops.items():
            latest = loop.watch.latest
            for name, part in (("trees", latest.trees), ("stream", latest.stream)):
                if part is not None:
                    self._silent_since.pop((group, name), None)
                else:
                    since_ms = self._silent_since.setdefault((group, name), now_ms)
                    yield group, name, now_ms - since_ms

    # --- for the other replica, and for people --------------------------------------------------

    def _groups(self) -> Iterator[pb.GroupHealth]:
        for group, loop in self._loops.items():
            absences = loop.hands.absences
            absent = absences.defects if absences is not None else ()
            defects = (*self.monitor.defects(group), *absent)
            yield pb.GroupHealth(
                group=group,
                refusals=self._refusals(loop),
                defects=[
                    pb.Defect(
                        kind=defect.kind,
                        text=defect.text,
                        remedy=defect.remedy,
                        bars=defect.bars,
                        sure=defect.sure,
                    )
                    for defect in defects
                ],
            )

    def _refusals(self, loop: GroupLoop) -> Iterator[pb.TakeoverRefusal]:
        for refusal in refusals(loop.state, self._now_ms()):
            since_ms = 0
            if refusal.code is Against.NOT_IN_SYNC:
                index = loop.state.record.in_sync_index
                events = self._raft.state.events
                since_ms = next((e.wall_ms for e in reversed(events) if e.index == index), 0)
            yield pb.TakeoverRefusal(
                code=refusal.code.value,
                reason=refusal.reason,
                remedy=refusal.remedy,
                since_wall_ms=since_ms,
            )

    def show(self, metrics: HealthMetrics) -> None:
        """What the probes measured last."""
        for node, states in self.monitor.rings.items():
            for state in states:
                if state.way is not Way.UNKNOWN:
                    metrics.link(
                        LinkSample(
                            peer=node,
                            ring=state.look.ring,
                            up=state.way is Way.BOTH,
                            round_trip_ms=state.look.round_trip_ms,
                        )
                    )
        metrics.pings(
            [
                PingSample(address=address, answers=answers, round_trip_us=took_us)
                for address, answers, took_us in self.monitor.pings()
            ]
        )
        for node, partner in self.monitor.partners.items():
            if partner.clock.best is not None:
                metrics.clock(node, partner.clock.best[0])
        for look in self.monitor.volumes():
            metrics.volume(
                VolumeSample(
                    path=look.path,
                    took_ms=max(look.took_ms or 0, look.writing_ms or 0),
                    failed=bool(look.error),
                    free_bytes=look.free,
                    size_bytes=look.size,
                )
            )

    def add_to(self, status: admin_pb2.GetStatusResponse) -> None:
        """What is found, the links, and for each replica whether it could take over."""
        status.findings.extend(self.monitor.findings())
        status.findings.extend(self.monitor.findings_of_others())
        for node, states in self.monitor.rings.items():
            for state in states:
                trip_ms = state.look.round_trip_ms
                status.links.append(
                    admin_pb2.LinkStatus(
                        peer=node,
                        ring=state.look.ring,
                        address=state.look.mine.address,
                        peer_address=state.look.peer_address,
                        way=state.way.value,
                        round_trip_us=None if trip_ms is None else round(1000 * trip_ms),
                    )
                )
        for group in status.groups:
            group.takeovers.extend(self._takeovers(group))

    def _takeovers(self, group: admin_pb2.GroupStatus) -> Iterator[admin_pb2.TakeoverStatus]:
        loop = self._loops[GroupId(group.group)]
        for node in self._config.replicas:
            if node == group.active:
                yield admin_pb2.TakeoverStatus(node=node, active=True)
            elif node == self._config.node:
                yield admin_pb2.TakeoverStatus(node=node, known=True, refusals=self._refusals(loop))
            else:
                yield self._of_partner(self.monitor.partners[node], loop.group)

    def _of_partner(self, partner: Partner, group: GroupId) -> admin_pb2.TakeoverStatus:
        said = _of_group(partner, group)
        if said is None:
            return admin_pb2.TakeoverStatus(node=partner.node.id)
        return admin_pb2.TakeoverStatus(
            node=partner.node.id,
            known=True,
            heard_ms=self._now_ms() - partner.said_ms,
            refusals=said.refusals,
        )


def _of_group(partner: Partner, group: GroupId) -> pb.GroupHealth | None:
    if partner.said is None:
        return None
    return next((said for said in partner.said.groups if said.group == group), None)


def _defect(said: pb.Defect) -> Defect:
    return Defect(
        kind=said.kind, text=said.text, remedy=said.remedy, bars=said.bars, sure=said.sure
    )
