"""When the decision core is asked again if nothing happens."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fakes.pki import cluster_pki
from fakes.trio import DEFAULT, A, trio_config
from staqraft.daemon.loop import settings_of, wake_ms
from staqraft.decision.phases import Phase
from staqraft.decision.state import GroupState

SETTINGS = settings_of(trio_config(A, cluster_pki(), Path("/nowhere"), control_port=7400), DEFAULT)
INSTANT = st.integers(min_value=0, max_value=20_000)


@given(st.sampled_from(Phase), INSTANT, INSTANT, INSTANT, INSTANT)
def test_a_standby_is_asked_at_each_instant_it_waits_for_and_the_others_all_the_time(
    phase: Phase, now_ms: int, observed_ms: int, retry_ms: int, cooldown_ms: int
) -> None:
    state = GroupState(
        settings=SETTINGS,
        phase=phase,
        observed_ms=observed_ms,
        retry_ms=retry_ms,
        cooldown_ms=cooldown_ms,
    )
    woken_ms = wake_ms(state, now_ms)
    if phase is not Phase.STANDBY:
        assert woken_ms == now_ms + 50
        return
    assert now_ms < woken_ms <= now_ms + 250
    over_ms = SETTINGS.timing.challenger_deadline(observed_ms)
    for instant in (over_ms, retry_ms, cooldown_ms):
        assert instant <= now_ms or woken_ms <= instant
