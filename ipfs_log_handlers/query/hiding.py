"""Hide secret values of the records of a dataset, before a filter, a count or SQL sees them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.reader.parts import OpenText, Part

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.redaction.lines import LineRedaction

__all__ = ["HiddenPart", "Hiding", "redaction_of"]


class Hiding(ABC):
    """The method of a dataset that hides values."""

    @abstractmethod
    def _with_redaction(self, redaction: LineRedaction) -> Dataset:
        """Return the dataset with its values hidden."""

    def redact(self, *rules: str) -> Dataset:
        """Hide values of the records that are read, as `[redacted]`; nothing that is stored changes.

        All other methods see the records with hidden values: conditions, counts, SQL, exports. So no question can
        find out a hidden value, except with `prove`, whose bundle has the record as it was logged, and `verify`. The
        methods in log order (`records`, `lines`, `batch`) raise an error. A line that may have a secret is decoded, so
        reading is slower.

        Args:
            rules: names and patterns of fields, and detectors such as `@email`, as the setting `redact` has them.

        Raises:
            ConfigurationError: a rule is malformed, there is none, or the dataset hides values already.
        """
        return self._with_redaction(redaction_of(rules))


def redaction_of(rules: Sequence[str]) -> LineRedaction:
    """Return what hides the values of some rules.

    Raises:
        ConfigurationError: a rule is malformed, or there is none.
    """
    from ipfs_log_handlers.config.redact import parse_redact
    from ipfs_log_handlers.redaction.lines import LineRedaction

    parsed = parse_redact(list(rules))
    if parsed is None or callable(parsed) or not parsed:
        raise ConfigurationError("name at least one field or detector to hide", where="redact")
    return LineRedaction(parsed)


class HiddenPart:
    """A part whose records are read with their secrets hidden.

    Args:
        part: the part.
        redaction: hides them.
    """

    def __init__(self, part: Part, redaction: LineRedaction) -> None:
        self._part = part
        self._redaction = redaction
        self._zone: Mapping[str, Any] | None = None
        self.prefetch: Callable[[], Future[bytes] | None] | None = getattr(part, "prefetch", None)
        self.sharpen: Callable[[], None] | None = getattr(part, "sharpen", None)

    @property
    def subsystem(self) -> str:
        """Its subsystem."""
        return self._part.subsystem

    @property
    def log(self) -> str:
        """Its log."""
        return self._part.log

    @property
    def origin(self) -> str | None:
        """The origin that its records show."""
        return self._part.origin

    @property
    def index(self) -> int:
        """The number of its batch."""
        return self._part.index

    @property
    def number(self) -> int:
        """Its number among the parts of the spool."""
        return self._part.number

    @property
    def first(self) -> bytes:
        """The time of its first record."""
        return self._part.first

    @property
    def last(self) -> bytes:
        """The time of its last record."""
        return self._part.last

    @property
    def records(self) -> int:
        """Its number of records."""
        return self._part.records

    @property
    def size(self) -> int:
        """The bytes that are read when it is opened."""
        return self._part.size

    @property
    def sealed(self) -> bool:
        """Whether it is a batch."""
        return self._part.sealed

    def zone(self) -> Mapping[str, Any]:
        """Return the zone map if it has no hidden value, else an empty one: it would answer for the stored values."""
        if self._zone is None:
            zone = self._part.zone()
            text = json.dumps(zone, default=str, ensure_ascii=False).encode("utf-8", "replace")
            self._zone = zone if self._redaction.in_line(text) == text else {}
        return self._zone

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Ask the Bloom filter, except about a field whose values are hidden."""
        return self._redaction.hides_name(name) or self._part.may_hold(name, hashes)

    def manifest(self) -> Manifest | None:
        """Read the manifest."""
        return self._part.manifest()

    def open_text(self) -> OpenText | None:
        """Open the records as one text; secrets are hidden when it is inflated."""
        stored = self._part.open_text()
        if stored is None:
            return None
        return OpenText(lambda: self._redaction.in_text(stored.inflate()), stored.cancel)

    def lines(self) -> Iterator[bytes]:
        """Yield the records, with secrets hidden; report a gap."""
        return map(self._redaction.in_line, self._part.lines())

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines; report no gap."""
        return map(self._redaction.in_line, self._part.lines_or_error())
