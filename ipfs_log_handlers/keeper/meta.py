"""What a batch says of its records: `meta`, and the fields of `stats`, by the rules of its subsystem."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from operator import attrgetter
from typing import Any

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.keeper.aggregates import AGGREGATES
from ipfs_log_handlers.keeper.plan import Plan, Record
from ipfs_log_handlers.keeper.values import MANY, Values

__all__ = ["Sums", "fitting"]


class Sums:
    """What the records of one batch add up to.

    Args:
        plan: the rules, made ready.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._records = self._counted = 0
        self._aggregates = {name: AGGREGATES[rule.rule](rule, plan) for name, rule in plan.rules.meta.items()}
        self._zone = {name: (attrgetter(plan.attribute[name]), Values()) for name in plan.rules.zone}

    def add(self, found: Sequence[Record], *, readable: bool = True) -> None:
        """Take records in; `readable` as `Plan.decode` says."""
        if not readable:
            self._zone.clear()
        if not self._plan.rules:
            return
        for get, values in self._zone.values():
            values.add(list(map(get, found)))
        own = self._plan.own(found)
        self._records += len(found)
        self._counted += len(own)
        if own:
            for each in self._aggregates.values():
                each.add(own)

    def meta(self, first: int, index: int) -> dict[str, Any]:
        """The subsystem's own keys.

        Args:
            first: the manifest's, in µs since 1970.
            index: number of the batch.
        """
        told: dict[str, Any] = {}
        for name, each in self._aggregates.items():
            told.update(each.told(name, first, index))
        if self._plan.rules.meta and self._counted < self._records:
            told["left_out"] = self._records - self._counted
        return told

    def stats(self) -> dict[str, Any]:
        """What goes into the zone map: `fields`, and `rules`, the id of the rules by which all this was counted."""
        if not self._plan.rules:
            return {}
        fields = {name: values.told() for name, (_, values) in self._zone.items()}
        return {"rules": self._plan.rules.id} | ({"fields": fields} if self._plan.rules.zone else {})


def fitting(manifest: Manifest) -> Manifest:
    """A manifest that its block can hold: where it is too long, its largest sets become `many`, one after the other.

    Raises:
        FormatError: it is too long without them, too.
    """
    while True:
        try:
            manifest.encode()
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
            _, name, place = max(sets, key=lambda each: each[0])
            place[name] = MANY
            manifest = replace(manifest, meta=meta, stats=stats)
        else:
            return manifest
