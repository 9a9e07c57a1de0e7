"""Choose the batches of a log whose payloads are verified: all, those of a time, or a random sample and the newest."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.manifest import Manifest

__all__ = ["Chosen", "Selection"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choice for one log."""

    since: int | None = None
    indexes: frozenset[int] | None = None

    def has(self, index: int, manifest: Manifest) -> bool:
        """Return whether the payload of a batch is verified."""
        if self.since is not None and manifest.last < self.since:
            return False
        return self.indexes is None or index in self.indexes


@dataclass(frozen=True, slots=True)
class Selection:
    """What the caller asks for. Manifests, and with them the chain, are always verified.

    Raises:
        ConfigurationError: the sample has no batch.
    """

    since: int | None = None
    """Only batches with a record of this time or later, in µs since 1970."""
    sample: int | None = None
    """Only so many batches of each log, drawn anew for each check, and the newest."""

    def __post_init__(self) -> None:
        if self.sample is not None and (type(self.sample) is not int or self.sample < 1):
            raise ConfigurationError("not a number of batches", where="sample", expected="1 or more", found=self.sample)

    def of(self, first: int, newest: int) -> Chosen:
        """Choose among the batches of a log.

        Args:
            first: number of its first batch that is here.
            newest: number of its newest batch.
        """
        if self.sample is None or newest - first < self.sample:
            return Chosen(self.since)
        drawn = random.SystemRandom().sample(range(first, newest), self.sample)  # nobody may know what is left out
        return Chosen(self.since, frozenset((*drawn, newest)))
