"""Find the offset in each segment up to which its lines are in batches, also in segments that a backup restored."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.keeper.chain import Chain
from ipfs_log_handlers.keeper.new_log import sealed_through
from ipfs_log_handlers.spool.scan import Spool

__all__ = ["ConsumedOffsets"]


class ConsumedOffsets:
    """Returns the offsets in the newest head, and corrects the offsets of segments that a backup restored.

    Args:
        subsystem_dir: the directory of the subsystem.
        spool: its spool.
        chain: its log.
        at_start: the offsets that count until there is a head.
    """

    def __init__(self, subsystem_dir: SubsystemDir, spool: Spool, chain: Chain, at_start: Mapping[str, int]) -> None:
        self._subsystem_dir = subsystem_dir
        self._spool = spool
        self._chain = chain
        self._at_start = at_start
        self._checked: set[SegmentName] = set()
        """Segments of the spool that were checked: whether a backup restored them."""
        self._corrected: dict[str, int] = {}
        """Offsets in restored segments up to which their lines are in batches."""

    def current(self) -> Mapping[str, int]:
        """Return the offset in each segment up to which its lines are in batches, and 1 for each sealed archive."""
        newest = self._chain.state.sealed or self._chain.state.inherited
        consumed = newest.consumed if newest else self._at_start
        return {**consumed, **self._corrected} if self._corrected else consumed

    def correct(self) -> None:
        """Find by sequence numbers which lines of restored segments are in batches."""
        names = segments.listing(self._subsystem_dir.spool)
        brought_back = [name for name in names if self._was_brought_back(name)]
        self._checked = set(names)
        if brought_back:
            offsets = self._spool.offsets_after(sealed_through(self._subsystem_dir))
            self._corrected |= {str(name): offsets.get(str(name), 0) for name in brought_back}

    def _was_brought_back(self, name: SegmentName) -> bool:
        """Return whether a segment is shorter than before, or is new and was written before its file was made."""
        path, consumed = self._subsystem_dir.spool / name.file_name, self.current().get(str(name), 0)
        with suppress(OSError):
            if consumed:
                return disk.status(path).st_size < consumed
            return name not in self._checked and segments.is_copy(path)
        return False

    def note_sealed(self) -> None:
        """Forget the corrections: the new head has them."""
        self._corrected.clear()
