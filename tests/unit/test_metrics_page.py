"""deploy/METRICS.md lists what the code shows, and names are as Prometheus wants them."""

from __future__ import annotations

import re

from fakes.metrics_table import PAGE, node_families, page, witness_families


def test_the_page_lists_what_the_code_shows() -> None:
    text = PAGE.read_text()
    assert text == page(text), "renew it: PYTHONPATH=tests python -m fakes.metrics_table"


def test_names_say_kind_and_unit() -> None:
    for family in [*node_families(), *witness_families()[1]]:
        assert re.fullmatch(r"staqraft_[a-z_]+", family.name), family
        assert family.name.endswith("_total") == (family.kind == "counter"), family
        if family.kind == "histogram":
            assert family.name.endswith("_seconds"), family
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb|percent)(_|$)", family.name), family
        assert family.text.endswith("."), family
