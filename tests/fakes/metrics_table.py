"""The list of metrics in deploy/METRICS.md, from the code: python -m fakes.metrics_table."""

from __future__ import annotations

from pathlib import Path

from staqraft.consensus.ticker import LATENESS_S
from staqraft.daemon.witness_metrics import ClusterSample, WitnessMetrics
from staqraft.metrics import Family, Metrics
from staqraft.model import NodeId

PAGE = Path(__file__).parents[2] / "deploy" / "METRICS.md"
BEGIN = "<!-- the table: from the code; a test compares -->\n"


def node_families() -> list[Family]:
    """What a node shows, and the witness of one cluster."""
    return Metrics("lab", NodeId("a"), "0").catalogue()


def witness_families() -> tuple[list[str], list[Family]]:
    """What a witness for many clusters shows: as a node does, and what no node does."""
    sample = ClusterSample(cluster="lab", node="w", source="f", served=True)
    known = {family.name for family in node_families()}
    shared, found = [], []
    for metric in WitnessMetrics(
        "0", lambda: [sample], lambda: [0] * (len(LATENESS_S) + 1)
    ).collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = tuple(
            label
            for label in (metric.samples[0].labels if metric.samples else {})
            if label not in {"cluster", "node", "le"}
        )
        if name in known:
            shared.append(name)
        else:
            found.append(
                Family(name=name, kind=metric.type, labels=labels, text=metric.documentation)
            )
    return sorted(shared), sorted(found, key=lambda family: family.name)


def table(families: list[Family]) -> str:
    """Markdown."""
    rows = ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
    rows += [
        f"| `{f.name}` | {f.kind} | {', '.join(f'`{label}`' for label in f.labels)} | {f.text} |"
        for f in families
    ]
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """The page with the tables that the code says."""
    head = text.split(BEGIN, maxsplit=1)[0]
    shared, own = witness_families()
    return (
        f"{head}{BEGIN}\n## On every node\n\n{table(node_families())}\n"
        f"## On a witness for many clusters\n\n{table(own)}\n"
        f"Of those above: {', '.join(f'`{name}`' for name in shared)}.\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
