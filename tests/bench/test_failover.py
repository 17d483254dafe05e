"""The bench itself, for one round of two kinds."""

from __future__ import annotations

import pytest

from bench.failover import Bench
from lab.cluster import Cluster
from lab.lab import Lab
from lab.observers import Client, probe_http
from lab.views import Views

pytestmark = [pytest.mark.lab, pytest.mark.slow]


@pytest.mark.long
def test_a_round_measures_the_outage_says_where_it_went_and_leaves_both_in_sync(lab: Lab) -> None:
    cluster = Cluster(lab)
    cluster.install()
    with Views(lab) as views:
        cluster.start()
        views.wait_protected("a")
        lab.run("a", lab.module("workload", "web"))
        with probe_http(lab, interval_ms=20) as prober:
            bench = Bench(lab=lab, cluster=cluster, views=views, client=Client(prober))
            switchover, power = bench.run("switchover"), bench.run("power")
        assert (switchover.loser, switchover.winner, power.loser) == ("a", "b", "b")
        assert "release" in switchover.parts_s
        assert switchover.outage_s < power.outage_s
        assert power.parts_s["detection"] > 2.0  # the lease is 3 s, and renewed every 0.3
        assert sum(power.parts_s.values()) == pytest.approx(power.outage_s)
        assert views.protected("a") is not None
