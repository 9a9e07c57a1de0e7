"""Summarise the records of a batch by the rules of its subsystem: `meta`, and the fields of `stats`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from operator import attrgetter
from typing import Any

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.manifest import MAX_BLOCK, Manifest
from ipfs_log_handlers.stats.aggregates import AGGREGATES
from ipfs_log_handlers.stats.columns import MANY, ColumnStats
from ipfs_log_handlers.stats.decoder import CompiledRules, Record

__all__ = ["BatchSummary", "shrink_to_block"]


class BatchSummary:
    """The sums over the records of one batch.

    Args:
        compiled: the compiled rules of the subsystem.
    """

    def __init__(self, compiled: CompiledRules) -> None:
        self._compiled = compiled
        self._records = self._complete = 0
        self._aggregates = {name: AGGREGATES[rule.rule](rule, compiled) for name, rule in compiled.rules.meta.items()}
        self._zone = {name: (attrgetter(compiled.attribute[name]), ColumnStats()) for name in compiled.rules.zone}

    def add(self, records: Sequence[Record], *, readable: bool = True) -> None:
        """Add records; `readable` says whether all their fields were decoded (`CompiledRules.decode`)."""
        if not readable:
            self._zone.clear()
        if not self._compiled.rules:
            return
        for get, values in self._zone.values():
            values.add(list(map(get, records)))
        complete = self._compiled.complete_events(records)
        self._records += len(records)
        self._complete += len(complete)
        if complete:
            for aggregate in self._aggregates.values():
                aggregate.add(complete)

    def meta(self, first: int, index: int) -> dict[str, Any]:
        """Return the keys of `meta` that the subsystem defines.

        Args:
            first: `first` of the manifest, µs since 1970.
            index: number of the batch.
        """
        meta: dict[str, Any] = {}
        for name, aggregate in self._aggregates.items():
            meta.update(aggregate.result(name, first, index))
        if self._compiled.rules.meta and self._complete < self._records:
            meta["left_out"] = self._records - self._complete
        return meta

    def stats(self) -> dict[str, Any]:
        """Return the members of the zone map: `fields`, and `rules`, the id of the rules that were used."""
        if not self._compiled.rules:
            return {}
        fields = {name: values.as_json() for name, (_, values) in self._zone.items()}
        return {"rules": self._compiled.rules.id} | ({"fields": fields} if self._compiled.rules.zone else {})


def shrink_to_block(manifest: Manifest, max_bytes: int = MAX_BLOCK) -> Manifest:
    """Return a manifest that fits into its block: while it is too long, its largest set becomes `MANY`.

    Args:
        manifest: the manifest.
        max_bytes: bytes that it may have.

    Raises:
        FormatError: it is too long even without these sets.
    """
    while True:
        try:
            manifest.encode(max_bytes)
        except FormatError:
            meta, stats = deepcopy(dict(manifest.meta)), deepcopy(dict(manifest.stats))
            sets = [
                (len(dagcbor.encode(value)), name, place)
                for place in (meta, stats, *stats.get("fields", {}).values())
                for name, value in place.items()
                if isinstance(value, (list, dict)) and value and name != "fields"
            ]
            if not sets:
                raise
            _, name, place = max(sets, key=lambda item: item[0])
            place[name] = MANY
            manifest = replace(manifest, meta=meta, stats=stats)
        else:
            return manifest
