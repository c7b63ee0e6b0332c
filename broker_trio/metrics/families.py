"""What a metric family is: the row type of catalogue.py.

`name` is the name that samples carry, suffixes and all (`_total`, `_seconds`, `_info`): what people
type into a query. A histogram's samples add `_bucket`, `_sum` and `_count` to it.

    NOW     the program exposes it
    LATER   its feature is not built: known to dashboards and lint, never exposed, so that a panel
            cannot show a flat zero for something that does not exist
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The type as Prometheus spells it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Status(StrEnum):
    """Whether it is exposed already."""

    NOW = "now"
    LATER = "later"


IDENTITY: Final = ("cluster", "node_type", "node_id")
"""Labels that each of our series carries first: the program's own place in the fleet."""

BROKER: Final = frozenset({"broker"})
NAMESERVER: Final = frozenset({"nameserver"})
BOTH: Final = BROKER | NAMESERVER
DRILL: Final = frozenset({"drill"})


@dataclass(frozen=True, slots=True)
class Family:
    """One name with one meaning. `labels` are those after the identity's, in the order of samples.

    `known` are label values that exist before anything has happened: they are exposed as 0 from the
    start, so that `rate()` sees the first event. A family without further labels is always known,
    unless it is a gauge: there 0 would be a claim.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    roles: frozenset[str] = BROKER
    status: Status = Status.NOW
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()
    identity: tuple[str, ...] = IDENTITY

    def __post_init__(self) -> None:
        assert (self.kind is Kind.HISTOGRAM) == bool(self.buckets), self.name
        assert (self.kind is Kind.COUNTER) == self.name.endswith("_total"), self.name
        assert not set(self.labels) & set(self.identity), self.name
        assert all(len(values) == len(self.labels) for values in self.known), self.name

    @property
    def label_names(self) -> tuple[str, ...]:
        """Every label of its samples, `le` apart."""
        return (*self.identity, *self.labels)

    @property
    def zeros(self) -> tuple[tuple[str, ...], ...]:
        """Label sets to expose even before their first event."""
        if self.known or self.labels or self.kind is Kind.GAUGE:
            return self.known
        return ((),)
