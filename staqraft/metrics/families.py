"""Families of series with the labels `cluster` and `node` filled in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from staqraft.model import NodeId

# A second series for each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

OWN: Final = ("cluster", "node")

Kind = TypeVar("Kind", Gauge, Counter, Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the list of metrics says of one of them."""

    name: str  # as in a query, but without the _bucket, _sum and _count of a histogram
    kind: str  # gauge, counter or histogram
    labels: tuple[str, ...]  # besides OWN
    text: str


class Series(Generic[Kind]):
    """One family; called with the values of its labels it gives one series."""

    def __init__(self, family: Kind, own: tuple[str, str]) -> None:
        self._family: Kind = family
        self._own = own
        self._shown: set[tuple[str, ...]] = set()

    def __call__(self, *labels: str) -> Kind:
        """The series with these values, made if it is new."""
        self._shown.add(labels)
        series: Kind = self._family.labels(*self._own, *labels)
        return series

    def forget_all_but(self, wanted: Collection[tuple[str, ...]], *, of: str = "") -> None:
        """Removes the series that are not wanted, of those whose first label is `of` if given."""
        for labels in [s for s in self._shown if not of or s[0] == of]:
            if labels not in wanted:
                self._family.remove(*self._own, *labels)
                self._shown.remove(labels)


class Families:
    """Makes the families of one node, and keeps the list of them."""

    def __init__(self, cluster: str, node: NodeId) -> None:
        self.registry = CollectorRegistry()
        self._own = (cluster, str(node))
        self._families: list[Family] = []

    def gauge(self, name: str, text: str, *labels: str) -> Series[Gauge]:
        """A figure that goes up and down."""
        self._note(name, "gauge", text, labels)
        family = Gauge(f"staqraft_{name}", text, (*OWN, *labels), registry=self.registry)
        return Series(family, self._own)

    def counter(self, name: str, text: str, *labels: str) -> Series[Counter]:
        """A figure that only grows; `name` without its `_total`."""
        self._note(f"{name}_total", "counter", text, labels)
        family = Counter(f"staqraft_{name}", text, (*OWN, *labels), registry=self.registry)
        return Series(family, self._own)

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Series[Histogram]:
        """How often a duration was how long."""
        self._note(name, "histogram", text, labels)
        family = Histogram(
            f"staqraft_{name}", text, (*OWN, *labels), buckets=buckets, registry=self.registry
        )
        return Series(family, self._own)

    def catalogue(self) -> list[Family]:
        """All of them, sorted by name."""
        return sorted(self._families, key=lambda family: family.name)

    def _note(self, name: str, kind: str, text: str, labels: tuple[str, ...]) -> None:
        self._families.append(Family(name=f"staqraft_{name}", kind=kind, labels=labels, text=text))
