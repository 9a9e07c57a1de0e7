"""Read all records of one home in the order of its logs, without a filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.reader.dataset import Dataset as LogOrder
from ipfs_log_handlers.reader.home_parts import HomeSource
from ipfs_log_handlers.reader.parts import Source

if TYPE_CHECKING:
    from ipfs_log_handlers.redaction.lines import LineRedaction

__all__ = ["InLogOrder"]


class InLogOrder:
    """The methods of a dataset of one home that yield records in the order of its logs."""

    sources: tuple[Source, ...]
    _home: LogOrder | None
    _redaction: LineRedaction | None

    def _in_log_order(self) -> LogOrder:
        if self._redaction is not None:
            raise ConfigurationError("the order of the logs shows records as they are stored: leave out redact")
        if self._home is None:
            raise ConfigurationError("only the dataset of one home has an order of its logs; iterate over this one")
        return self._home

    def records(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[dict[str, Any]]:
        """Yield all records of a subsystem of a home in log order, without the filter; see `reader.dataset`."""
        return self._in_log_order().records(subsystem, sealed_only=sealed_only)

    def lines(self, subsystem: str, *, sealed_only: bool = False) -> Iterator[bytes]:
        """Yield the JSON of the same records, without `subsystem`."""
        return self._in_log_order().lines(subsystem, sealed_only=sealed_only)

    def batch(self, cid: Cid | str) -> Iterator[tuple[str, bytes]] | None:
        """Find one batch of a home, or of a log of another home in it; return its lines, each with its subsystem.

        Args:
            cid: CID of the manifest or of the payload; as text in any usual form (`/ipfs/…`, `ipfs://…`).

        Returns:
            `None` if no batch of the home has this CID.

        Raises:
            FormatError: the text is not a CID.
        """
        found = self._in_log_order().batch(cid)
        home = next((source for source in self.sources if isinstance(source, HomeSource)), None)
        return found if found is not None or home is None else home.imported_batch(cid)
