"""When the decision core is asked again if nothing happens."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fakes.pki import cluster_pki
from fakes.trio import DEFAULT, A, B, trio_config
from staqraft.daemon.loop import settings_of
from staqraft.decision.lease import Lease
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState, PeerSync
from staqraft.decision.wake import wake_ms

SETTINGS = settings_of(trio_config(A, cluster_pki(), Path("/nowhere"), control_port=7400), DEFAULT)
INSTANT = st.integers(min_value=0, max_value=20_000)
OTHERS = sorted(set(Phase) - {Phase.STANDBY, Phase.ACTIVE}, key=str)


@given(INSTANT, INSTANT, INSTANT, INSTANT)
def test_a_standby_is_asked_at_each_instant_it_waits_for(
    now_ms: int, observed_ms: int, retry_ms: int, cooldown_ms: int
) -> None:
    state = GroupState(
        settings=SETTINGS,
        phase=Phase.STANDBY,
        observed_ms=observed_ms,
        retry_ms=retry_ms,
        cooldown_ms=cooldown_ms,
    )
    over_ms = SETTINGS.timing.challenger_deadline(observed_ms)
    _is_woken_for(state, now_ms, (over_ms, retry_ms, cooldown_ms))


@given(INSTANT, INSTANT, INSTANT, INSTANT, INSTANT)
def test_an_active_is_asked_when_it_is_to_renew_to_let_go_or_to_judge_its_standby(
    now_ms: int, renew_ms: int, deadline_ms: int, heard_ms: int, again_ms: int
) -> None:
    state = GroupState(
        settings=SETTINGS,
        phase=Phase.ACTIVE,
        lease=Lease(next_renew_ms=renew_ms, deadline_ms=deadline_ms),
        peers={B: PeerSync(whole_ms=heard_ms, propose_again_ms=again_ms)},
    )
    timing = SETTINGS.timing
    let_go_ms = deadline_ms - timing.let_go_ms
    silent_ms = heard_ms + timing.in_sync_timeout_ms + 1
    _is_woken_for(state, now_ms, (renew_ms, let_go_ms, silent_ms, again_ms))


@given(st.sampled_from(OTHERS), INSTANT)
def test_in_every_other_phase_the_core_is_asked_all_the_time(phase: Phase, now_ms: int) -> None:
    assert wake_ms(GroupState(settings=SETTINGS, phase=phase), now_ms) == now_ms + 50


def _is_woken_for(state: GroupState, now_ms: int, instants: tuple[int, ...]) -> None:
    woken_ms = wake_ms(state, now_ms)
    assert now_ms < woken_ms <= now_ms + 250
    for instant in instants:
        assert instant <= now_ms or woken_ms <= instant
