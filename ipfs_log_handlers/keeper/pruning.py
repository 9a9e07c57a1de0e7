"""Give up payloads: seal an act that names their batches, then unpin them at every store, then drop them at home.

The steps, by the keeper alone; a crash can come after each of them:

1. The act is written down and sealed (`keeper/acts.py`). From here on readers say that the batches are pruned, wherever
   a payload is missing; where it is still there, it is read.
2. At each store that has confirmed a batch, its pin is replaced by one of the manifest alone, and of the evidence in
   it; at each pin service it is removed. Doing it again changes nothing.
3. When every store has answered, the payload is deleted from the home.
4. `batches/pruned` says that the act is done. Until then the next keeper does steps 2 and 3 again.

A batch under a legal hold that was set after the act is left as it is, and the act is not done before the hold ends.
The blocks leave a store when its garbage collection runs; this package never runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, StoreError
from ipfs_log_handlers.format.act import MAX_LOGS, MAX_RANGES, Act, ranges_of
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.home.acts import Hold, SealedAct
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.pruned import note_done, unfinished
from ipfs_log_handlers.keeper.keep_manifest import keep_manifest
from ipfs_log_handlers.keeper.prune_plan import PlannedBatches
from ipfs_log_handlers.stores import BlockKeeper, Store
from ipfs_log_handlers.stores.pins import PinService

__all__ = ["Pruning", "Unfinished", "acts_for"]

_BATCHES_PER_CALL: Final = 32
"""Batches whose pins are removed at one pin service in one call."""


def acts_for(planned: Iterable[PlannedBatches], *, reason: str, by: str | None = None) -> list[Act]:
    """Draw the acts that give up the planned batches: as few as have space for their runs.

    Args:
        planned: what was planned; only what is to be pruned counts.
        reason: why.
        by: who asks for it.

    Raises:
        FormatError: reason or name is malformed.
    """
    runs: list[tuple[str, tuple[int, int]]] = []
    for log, group in groupby((each for each in planned if each.decision == "prune"), key=lambda each: each.log):
        numbers = [index for each in group for index in range(each.first, each.last + 1)]
        runs += [(log, run) for run in ranges_of(numbers)]
    drawn = []
    while runs:
        logs: dict[str, list[tuple[int, int]]] = {}
        count = 0
        for log, run in runs[:MAX_RANGES]:
            if log not in logs and len(logs) == MAX_LOGS:
                break
            logs.setdefault(log, []).append(run)
            count += 1
        runs = runs[count:]
        batches = tuple((log, tuple(own)) for log, own in logs.items())
        drawn.append(acts.draw("prune", reason=reason, by=by, batches=batches))
    return drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What keeps acts of pruning from being done."""

    reasons: dict[str, str] = field(default_factory=dict)
    """By address of a store or pin service, or by hold: the reason."""

    def as_json(self) -> dict[str, Any]:
        """Return the reasons."""
        return dict(self.reasons)


class Pruning:
    """Carry out the acts of pruning of one subsystem, as long as this process is the keeper.

    Args:
        subsystem_dir: the directory of the subsystem.
    """

    def __init__(self, subsystem_dir: SubsystemDir) -> None:
        self._subsystem_dir = subsystem_dir
        self._released: set[tuple[str, str, int]] = set()
        """Address of a store or pin service, log and number of each batch that was unpinned there."""

    async def finish(self, stores: Sequence[Store], pins: Sequence[PinService] = ()) -> Unfinished:
        """Carry out every act that is not done.

        Args:
            stores: the open stores.
            pins: the open pin services.

        Returns:
            What is left to do, and why; empty if nothing is.

        Raises:
            FormatError: a batch with an act is damaged.
            OSError: the home cannot be read, or the disk refuses.
        """
        reasons: dict[str, str] = {}
        for own in LogDir.all_of(self._subsystem_dir):
            in_order = True
            for sealed in unfinished(own):
                before = len(reasons)
                await self._carry_out(sealed, stores, pins, reasons)
                in_order = in_order and len(reasons) == before
                if in_order:
                    note_done(own, sealed.index)
        return Unfinished(reasons=reasons)

    async def _carry_out(
        self, sealed: SealedAct, stores: Sequence[Store], pins: Sequence[PinService], reasons: dict[str, str]
    ) -> None:
        holds = acts.holds_of(self._subsystem_dir)
        named = dict(sealed.act.batches)
        for log_dir in LogDir.all_of(self._subsystem_dir):
            log = log_dir.name()
            if log is None or log not in named:
                continue
            headers = list(self._free(log_dir, log, named[log], holds, reasons))
            kept: set[int] = set()
            for state in log_dir.delivery_states(log).values():
                confirmed = [header for header in headers if state.has(header.manifest.index)]
                due = [each for each in confirmed if (state.address, log, each.manifest.index) not in self._released]
                store = next((each for each in stores if each.address == state.address), None)
                pin = next((each for each in pins if each.address == state.address), None)
                try:
                    await _release(store, pin, log_dir, due)
                except (StoreError, FormatError, FileNotFoundError) as error:
                    reasons[state.address] = str(error)
                    kept.update(each.manifest.index for each in due)
                else:
                    self._released.update((state.address, log, each.manifest.index) for each in due)
            self._drop(log_dir, [header for header in headers if header.manifest.index not in kept])

    def _free(
        self,
        log_dir: LogDir,
        log: str,
        runs: Sequence[tuple[int, int]],
        holds: Sequence[Hold],
        reasons: dict[str, str],
    ) -> Iterator[BatchHeader]:
        """Yield the batches of an act that are not held; a batch that cannot be read has nothing to give up."""
        through = log_dir.sealed_through()
        newest = -1 if through is None else through[1]
        for first, last in runs:
            for index in range(first, min(last, newest) + 1):
                with suppress(FormatError, FileNotFoundError):
                    header = log_dir.sealed_batches.facts(index)
                    manifest = header.manifest
                    hold = next((each for each in holds if each.covers(manifest.first, manifest.last)), None)
                    if hold is not None:
                        reasons[f"hold {hold.id}"] = f"batch {index} is held: {hold.reason}"
                    elif manifest.log == log:
                        yield header

    def _drop(self, log_dir: LogDir, headers: Sequence[BatchHeader]) -> None:
        """Delete payloads from the home; a damaged batch is left to `doctor`."""
        batches = log_dir.sealed_batches
        here = []
        for header in headers:
            with suppress(FormatError, FileNotFoundError):
                if batches.has_payload(header.manifest.index, header.manifest.payload):
                    here.append(header.manifest.index)
        packed = [index for index in here if batches.is_packed(index)]
        batches.strip(*packed)
        for index in here:
            if index not in packed:
                with suppress(FormatError):
                    batches.strip(index)


async def _release(
    store: Store | None, pin: PinService | None, log_dir: LogDir, headers: Sequence[BatchHeader]
) -> None:
    """Unpin batches at one store, which keeps their manifests, or at one pin service.

    Raises:
        StoreError: it did not answer; or it is not open here, or cannot keep a manifest alone.
        FormatError, FileNotFoundError: a block that must stay there cannot be read.
    """
    if not headers:
        return
    if pin is not None:
        for start in range(0, len(headers), _BATCHES_PER_CALL):
            await pin.remove([header.cid for header in headers[start : start + _BATCHES_PER_CALL]])
        return
    if store is None:
        raise StoreError("it is not configured here", hint="Name it with --kubo.")
    if not isinstance(store, BlockKeeper):
        raise StoreError("this kind of store cannot keep a manifest without its payload")
    for header in headers:
        blocks = log_dir.sealed_batches.blocks(header.manifest.index)
        await keep_manifest(store, header.cid, header.manifest, blocks)
