"""The guards of the design, taken out one at a time: a simulator that cannot fail proves nothing.

Each mutation is a few lines that make the code as it would be without the guard. It is applied in a
process of its own, for good. `caught` False: a second guard behind it makes it harmless to what is
checked here; `why` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from simulation import (
    barriers,
    checks,
    daemon,
    fence_hands,
    gate_mutations,
    group_mutations,
    guards,
    health,
    lease_mutations,
    pair_mutations,
    planned_mutations,
    rest_mutations,
    service_mutations,
    settling_mutations,
    upgrade_mutations,
    worker,
)
from simulation.hardware_mutations import PATCHES as HARDWARE
from simulation.patching import put
from staqraft import lifetimes
from staqraft.actions import vip
from staqraft.consensus import statemachine
from staqraft.decision import (
    barrier,
    eligibility,
    fencing,
    handover,
    insync,
    standdown,
    step,
    takeover,
)
from staqraft.decision import events as on
from staqraft.decision.commands import AnswerFence
from staqraft.decision.following import Following
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, Joining
from staqraft.model import ORIGIN, DataRole, FenceRung
from staqraft.replication.plan import Resume
from staqraft.replication.plan import plan as real_plan

Patch = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A guard that is taken out."""

    name: str
    patch: Patch
    why: str = ""  # not empty: it is not expected to be caught
    kinds: tuple[str, ...] = ()  # of plans (`options.Plan.kind`) that are tried first


# --- the state machine ----------------------------------------------------------------------------


def _renewal_not_compared() -> None:
    real = statemachine._moved_on
    put(
        statemachine,
        "_moved_on",
        lambda group, epoch, _renewal: real(group, epoch, group.renewal),
    )


def _nothing_compared() -> None:
    put(statemachine, "_moved_on", lambda *_: None)


def _anyone_may_acquire() -> None:
    put(statemachine, "_may_not_acquire", lambda *_: None)
    put(takeover, "reasons_against", lambda *_: ())


def _old_epoch_may_speak() -> None:
    put(statemachine, "_not_active", lambda *_: None)


# --- fencing and addresses ------------------------------------------------------------------------


def _fence_skipped() -> None:
    put(takeover, "_fence", takeover._finish)


def _silence_is_consent() -> None:
    real = fencing.on_failed

    def on_failed(turn: Any, event: Any) -> bool:
        if found := real(turn, event):
            turn.set(fencing=replace(turn.state.fencing, proof=(FenceRung.CONFIRMED, "")))
        return found

    put(fencing, "on_failed", on_failed)


def _answers_before_it_lets_go() -> None:
    real = standdown.on_fence

    def on_fence(turn: Any, event: Any) -> None:
        turn.emit(AnswerFence(token=event.token, let_go=True, detail=""))
        real(turn, event)

    put(standdown, "on_fence", on_fence)


def _released_before_dropped() -> None:
    put(handover, "flushed", standdown.release)
    put(step, "_DONE", {**step._DONE, Phase.FLUSHING: standdown.release})


def _lifetime_rounded_up() -> None:
    put(vip, "whole_lifetime_s", lambda left_ms: max(0, -(-left_ms // 1000)))


def _kernel_is_punctual() -> None:
    put(vip, "whole_lifetime_s", lambda left_ms: max(0, left_ms // 1000))


def _kernel_looks_at_once() -> None:
    by_itself_ms = lifetimes.FUZZ_MS
    per_s_ms = 1000 + lifetimes.LATE_PER_S_MS
    put(vip, "whole_lifetime_s", lambda left_ms: max(0, (left_ms - by_itself_ms) // per_s_ms))


def _held_up_call_not_seen() -> None:
    def put_once(self: Any, kernel: Any, address: Any, until_ms: int, *, prefix_route: bool) -> int:
        lifetime_s: int = self._lifetime(until_ms)
        if lifetime_s:
            kernel.put(address, lifetime_s, prefix_route=prefix_route)
        return lifetime_s

    put(vip.VipHolder, "_put", put_once)


def _address_without_end() -> None:
    put(vip, "whole_lifetime_s", lambda left_ms: 3600 if left_ms > 0 else 0)


def _leftovers_stay() -> None:
    put(daemon.Daemon, "_end_what_is_over", lambda _: None)


# --- data -----------------------------------------------------------------------------------------


def _barrier_ignores_joining() -> None:
    put(barrier, "must_confirm", lambda state: state.record.in_sync - {state.settings.node})


def _barrier_waits_for_nobody() -> None:
    put(barrier, "must_confirm", lambda _: frozenset())


def _barrier_skips_the_silent() -> None:
    def must(state: GroupState) -> frozenset[Any]:
        streaming = {peer for peer, sync in state.peers.items() if sync.whole}
        return insync.barrier_peers(state) & streaming

    put(barrier, "must_confirm", must)


def _barrier_without_raft() -> None:
    def confirm(d: daemon.Daemon, answer: Any) -> None:
        answer(None)

    put(barriers, "confirm_with_raft", confirm)


def _proposed_before_its_barrier() -> None:
    real = insync._settle_joiner

    def settle(turn: Any, peer: Any) -> None:
        sync = turn.state.peers[peer]
        if sync.joining is Joining.OUT and sync.whole:
            insync._put(turn, peer, replace(sync, joining=Joining.CATCHING_UP))
        real(turn, peer)

    put(insync, "_settle_joiner", settle)


def _joins_without_catching_up() -> None:
    real = insync.on_barrier

    def on_barrier(turn: Any, event: Any) -> bool:
        found = real(turn, event)
        for peer, sync in turn.state.peers.items():
            if sync.joining is Joining.CATCHING_UP:
                insync._put(turn, peer, replace(sync, target=ORIGIN))
        return found

    put(insync, "on_barrier", on_barrier)


def _joins_while_silent() -> None:
    """A standby counts as one that follows although it does not."""
    real = insync.on_report

    def on_report(turn: Any, event: Any) -> None:
        real(
            turn,
            replace(event, following=Following.WHOLE, silent_ms=0, durable=turn.state.journal_last),
        )

    put(insync, "on_report", on_report)


def _old_epoch_accepted() -> None:
    real = real_plan

    def plan(offer: Any, holding: Any) -> Any:
        return real(offer, replace(holding, epoch=min(holding.epoch, offer.epoch), active=None))

    put(worker, "plan", plan)


def _any_role_accepts() -> None:
    """Whoever is active takes what the former active sends, as its standby would."""
    real = worker.Worker._on_offer

    def on_offer(self: worker.Worker, session: Any, offer: Any) -> None:
        if offer.epoch < self.epoch:
            self.role = DataRole.STANDBY
        real(self, session, offer)

    put(worker.Worker, "_on_offer", on_offer)


def _diverged_resumes() -> None:
    def plan(offer: Any, holding: Any) -> Any:
        return Resume(min(offer.last, holding.last))

    put(worker, "plan", plan)


def _lost_tail_continued() -> None:
    real = worker.Worker.capture

    def capture(self: worker.Worker, *arguments: Any) -> bool:
        self.journal.lost_epoch = 0
        return real(self, *arguments)

    put(worker.Worker, "capture", capture)


def _unfinished_comparison_eligible() -> None:
    real = daemon.Daemon.tell

    def tell(self: daemon.Daemon, event: Any) -> None:
        if isinstance(event, on.DataReported):
            event = replace(event, blockers=())
        real(self, event)

    put(daemon.Daemon, "tell", tell)


# --- drills: a guard and the one behind it -------------------------------------------------------


def _acquires_early() -> None:
    """After half a lease, so that it is the fence step that keeps two from serving.

    That two hold a lease then is not looked at here: it is what has been taken out.
    """
    real = eligibility.why_now
    put(
        takeover, "why_now", lambda state, now: real(state, now + state.settings.timing.ttl_ms // 2)
    )
    put(checks.Checks, "_one_lease", lambda *_: None)


def _both(*patches: Patch) -> Patch:
    def patch() -> None:
        for one in patches:
            one()

    return patch


def _impatient_asker() -> None:
    """Who asks the loser to let go waits for its answer for less than a lease lasts."""
    put(fence_hands, "_FENCE_MS", 400)


def _unfinished_is_no_reason() -> None:
    put(worker.Worker, "refuse_unfinished", lambda _: None)


_FENCED: Final = ("hardware",)  # policies of which a lease that ran out is no part
_FENCE_WAITS: Final = "the fence step waits for the loser"
_FINISH_REFUSES: Final = "a worker does not finish with trees that are half compared"
_OF_THREE: Final = (
    "of three, who has acknowledged makes a majority with the leader: it stays true in every term,"
    " since a leader sends nothing without the entry that begins its own term"
)
_ORDER_RESTORED: Final = (
    "what comes late is of an older term, or cuts off entries that come back (LogStore.settle), or"
    " is a command that was compared with the record"
)
_LOGS_DIFFER: Final = "while renewals flow, PreVote refuses a cut off replica for its older log"
_ROLE_ENDS: Final = (
    "of a pair, nobody is a standby of an epoch newer than the sender's; without its role the drill"
    " below catches it"
)
_RESTARTED: Final = ("restarted_too_late", "asleep_at_the_restart")
MUTATIONS: Final = (
    Mutation(name="vote not stored", patch=guards.vote_not_stored, kinds=("elections",)),
    Mutation(name="term and vote not stored", patch=guards.term_not_stored),
    Mutation(name="log not synced", patch=guards.log_not_synced),
    Mutation(name="snapshot not synced", patch=guards.snapshot_not_synced),
    Mutation(name="sent before persisted", patch=guards.sent_before_persisted),
    Mutation(name="snapshot guard off (hazard 1)", patch=guards.snapshot_guard_off),
    Mutation(
        name="late acknowledgement counts",
        patch=guards.late_acknowledgement_counts,
        why=_OF_THREE,
    ),
    Mutation(name="cut off entries stay lost (hazard 8)", patch=guards.cut_off_entries_stay_lost),
    Mutation(name="snapshot empties the log (hazard 3)", patch=guards.snapshot_empties_the_log),
    Mutation(name="PreVote off", patch=guards.no_pre_vote),
    Mutation(name="loyalty off", patch=guards.no_loyalty, why=_LOGS_DIFFER),
    Mutation(name="PreVote and loyalty off (hazard 5)", patch=guards.no_pre_vote_no_loyalty),
    Mutation(name="term notices ignored", patch=guards.term_notices_ignored, kinds=("elections",)),
    Mutation(name="witness never leads (hazard 12)", patch=guards.witness_never_leads),
    Mutation(name="leadership does not follow the active", patch=guards.leadership_stays),
    Mutation(
        name="old sessions not purged (hazard 8)",
        patch=guards.sessions_not_purged,
        why=_ORDER_RESTORED,
    ),
    Mutation(name="acquire without comparing the renewal", patch=_renewal_not_compared),
    Mutation(name="acquire without comparing anything", patch=_nothing_compared),
    Mutation(name="in-sync check off", patch=_anyone_may_acquire),
    Mutation(name="old epochs may speak", patch=_old_epoch_may_speak),
    Mutation(name="renewal counts from commit", patch=lease_mutations.renewal_counts_from_commit),
    Mutation(
        name="grant counts from commit",
        patch=lease_mutations.grant_counts_from_commit,
        kinds=("late_grant",),
    ),
    Mutation(
        name="grant counts from the last attempt",
        patch=lease_mutations.second_attempt_counts,
        kinds=("late_grant",),
    ),
    Mutation(
        name="renewals share a number",
        patch=lease_mutations.renewals_share_a_number,
        kinds=("late_news",),
    ),
    Mutation(
        name="challenger without drift and margin",
        patch=lease_mutations.challenger_impatient,
        kinds=("stopped_while_clocks_part",),
    ),
    Mutation(
        name="clocks taken for exact",
        patch=lease_mutations.holder_without_drift,
        kinds=("stopped_while_clocks_part",),
    ),
    Mutation(
        name="rest not waited for",
        patch=lease_mutations.rest_not_waited_for,
        kinds=("rests_too_long",),
    ),
    Mutation(
        name="challenger does not observe renewals", patch=lease_mutations.renewals_not_observed
    ),
    Mutation(name="proposed counts as renewed", patch=lease_mutations.proposed_is_renewed),
    Mutation(
        name="restart believes in its lease",
        patch=lease_mutations.restart_believes_its_lease,
        kinds=_RESTARTED,
    ),
    Mutation(name="lost lease ignored", patch=lease_mutations.lost_lease_ignored),
    Mutation(name="fence step skipped", patch=_fence_skipped, kinds=_FENCED),
    Mutation(name="no answer counts as fenced", patch=_silence_is_consent, kinds=_FENCED),
    Mutation(
        name="answers the fence before it lets go",
        patch=_answers_before_it_lets_go,
        kinds=_FENCED,
    ),
    Mutation(name="released before the address is dropped", patch=_released_before_dropped),
    Mutation(name="VIP lifetime rounded up", patch=_lifetime_rounded_up),
    Mutation(name="kernel taken for punctual", patch=_kernel_is_punctual),
    Mutation(name="kernel taken to look at once", patch=_kernel_looks_at_once),
    Mutation(
        name="held up kernel call not noticed", patch=_held_up_call_not_seen, kinds=("held_up",)
    ),
    Mutation(
        name="leftovers of a sleep stay after a restart",
        patch=_leftovers_stay,
        kinds=("asleep_at_the_restart",),
    ),
    Mutation(name="address without a lifetime", patch=_address_without_end),
    *(
        Mutation(name=name, patch=patch, kinds=kinds)
        for name, patch, kinds in (
            *gate_mutations.PATCHES,
            *group_mutations.PATCHES,
            *planned_mutations.PATCHES,
            *service_mutations.PATCHES,
            *upgrade_mutations.PATCHES,
        )
    ),
    *(
        Mutation(name=name, patch=patch, why=why, kinds=kinds)
        for name, patch, why, kinds in (
            *pair_mutations.PATCHES,
            *rest_mutations.PATCHES,
            *settling_mutations.PATCHES,
            *health.PATCHES,
        )
    ),
    Mutation(
        name="barrier ignores a joining standby",
        patch=_barrier_ignores_joining,
        kinds=("join_and_die",),
    ),
    Mutation(name="barrier waits for nobody", patch=_barrier_waits_for_nobody),
    Mutation(name="barrier skips who is silent", patch=_barrier_skips_the_silent),
    Mutation(name="barrier does not ask Raft", patch=_barrier_without_raft, kinds=("hardware",)),
    Mutation(name="standby proposed before its barrier", patch=_proposed_before_its_barrier),
    Mutation(name="standby joins without catching up", patch=_joins_without_catching_up),
    Mutation(name="standby taken for streaming", patch=_joins_while_silent),
    Mutation(name="old epoch accepted by the receiver", patch=_old_epoch_accepted, why=_ROLE_ENDS),
    Mutation(
        name="drill: old epoch accepted, in any role",
        patch=_both(_old_epoch_accepted, _any_role_accepts),
    ),
    Mutation(name="diverged journal resumed", patch=_diverged_resumes),
    Mutation(name="lost tail continued", patch=_lost_tail_continued),
    Mutation(
        name="unfinished comparison eligible",
        patch=_unfinished_comparison_eligible,
        why=_FINISH_REFUSES,
    ),
    Mutation(name="drill: acquires early", patch=_acquires_early, why=_FENCE_WAITS),
    Mutation(
        name="drill: acquires early, fence step skipped",
        patch=_both(_acquires_early, _fence_skipped),
    ),
    Mutation(
        name="drill: acquires early, no answer is consent",
        patch=_both(_acquires_early, _impatient_asker, _silence_is_consent),
    ),
    Mutation(
        name="drill: acquires early, answers too early",
        patch=_both(_acquires_early, _answers_before_it_lets_go),
    ),
    Mutation(
        name="drill: unfinished comparison, and finishes",
        patch=_both(_unfinished_comparison_eligible, _unfinished_is_no_reason),
        kinds=("die_while_comparing",),
    ),
    *(
        Mutation(name=name, patch=patch, kinds=("hardware", "begun_anew"))
        for name, patch in HARDWARE
    ),
)
