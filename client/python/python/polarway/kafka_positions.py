"""Which offsets may be committed: those before which everything is durable.

A partition is consumed in tenures: from its assignment to this consumer to its revocation, by which the group gives it
to somebody, perhaps to the same consumer again. A tenure begins at what was committed, so what is not confirmed when it
ends comes again, to whoever has the partition next; confirming it afterwards would change nothing for the better.

Within a tenure batches may be confirmed in any order. One offset is committed for a partition, and says that all
records before it are done: it moves only over what is confirmed without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Partition(NamedTuple):
    """A part of a topic."""

    topic: str
    number: int


@dataclass(eq=False)
class Tenure:
    """A partition for as long as this consumer has it.

    Attributes:
        partition: Which.
        is_over: Whether it was revoked.
        given: The offset behind the last record that was given to the caller.
        durable: The offset before which everything is confirmed.
        committed: The offset that the cluster has.
    """

    partition: Partition
    is_over: bool = False
    given: int | None = None
    durable: int = 0
    committed: int = 0
    # Confirmed, but not all before them is: from their first offset to the one behind their last.
    _islands: dict[int, int] = field(default_factory=dict[int, int])

    def give(self, first: int, last: int) -> Span:
        """Notes that the records of these offsets, and all between them, are with the caller."""
        if self.given is None:
            self.durable = self.committed = first
        # Offsets without a record (of transactions, or compacted) count as given with what follows them.
        start = first if self.given is None else self.given
        self.given = last + 1
        return Span(self, start, last + 1)

    def confirm(self, start: int, end: int) -> None:
        """Notes that the records of a span are durable; a second time it changes nothing."""
        if start < self.durable:
            return
        self._islands[start] = end
        while self.durable in self._islands:
            self.durable = self._islands.pop(self.durable)


class Span(NamedTuple):
    """Records of one partition that were given together."""

    tenure: Tenure
    start: int
    end: int


class Due(NamedTuple):
    """What is to be committed for a partition."""

    tenure: Tenure
    offset: int


class Positions:
    """Those of all partitions that this consumer has."""

    def __init__(self) -> None:
        self._tenures: dict[Partition, Tenure] = {}

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """What this consumer has now, sorted."""
        return tuple(sorted(self._tenures))

    def assign(self, partitions: Iterable[Partition]) -> None:
        """Begins tenures."""
        partitions = list(partitions)
        self.revoke(partitions)
        self._tenures.update((partition, Tenure(partition)) for partition in partitions)

    def revoke(self, partitions: Iterable[Partition] | None = None) -> None:
        """Ends the tenures of these partitions, or of all."""
        for partition in list(self._tenures) if partitions is None else partitions:
            tenure = self._tenures.pop(partition, None)
            if tenure is not None:
                tenure.is_over = True

    def tenure(self, partition: Partition) -> Tenure | None:
        """The one of a partition, if this consumer has it."""
        return self._tenures.get(partition)

    def confirm(self, spans: Iterable[Span]) -> list[Partition]:
        """Notes that records are durable; gives the partitions of those that come again all the same."""
        lost: list[Partition] = []
        for tenure, start, end in spans:
            if tenure.is_over:
                lost.append(tenure.partition)
            else:
                tenure.confirm(start, end)
        return lost

    def due(self) -> list[Due]:
        """What the cluster has still to be told."""
        return [Due(tenure, tenure.durable) for tenure in self._tenures.values() if tenure.durable > tenure.committed]

    def committed(self, due: Iterable[Due]) -> None:
        """Notes that the cluster was told."""
        for tenure, offset in due:
            tenure.committed = max(tenure.committed, offset)
