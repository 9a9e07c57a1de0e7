"""Show a table to DuckDB as an Arrow dataset that reads only the batches which can have a row of the answer.

DuckDB hands its conditions to the method `scanner` of an Arrow dataset, as an Arrow expression. Arrow decides which
parts they can hold for: each part is a fragment of another dataset, without a file, whose partition expression is what
the manifest says of the part. The rows of the chosen parts are then filtered with the same expression, also by Arrow.
So the plan cannot disagree with the answer. Imported when pyarrow is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from ipfs_log_handlers.query.arrow import schema_of
from ipfs_log_handlers.query.columns import COMMON, Layout
from ipfs_log_handlers.query.tables import PartFacts, Table

__all__ = ["EmptyView", "LayoutChangedError", "View", "possible_parts"]

_MOMENT: Final = pa.timestamp("us", "UTC")
_BLOCK: Final = 128
"""Number of parts that are checked together first: most of very many parts are skipped by this."""
_NO_FILE: Final = fs.LocalFileSystem()
_NO_FORMAT: Final = ds.IpcFileFormat()


class LayoutChangedError(Exception):
    """The records that a query reads have other columns than the view."""


class View(ds.Dataset):  # type: ignore[misc]  # pyarrow has no types
    """A table as DuckDB reads it.

    Args:
        tables: gives the table at each reading.
        layout: the columns.
        grows: raise `LayoutChangedError` when the records of a reading have other columns; else values that do not fit
            stand in the column `fields`.
        strict: raise it also where the reading needs none of the other columns.
    """

    def __init__(self, tables: Callable[[], Table], layout: Layout, *, grows: bool, strict: bool = False) -> None:
        self._tables = tables
        self._layout = layout
        self._grows = grows
        self._strict = strict
        self._schema = schema_of(layout, for_duckdb=True)
        self.needed: Layout | None = None
        """The columns that a query needed and that the view does not have."""
        self.error: Exception | None = None
        """The error that ended a reading; DuckDB passes on only its text."""

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema."""
        return self._schema

    def scanner(self, columns: Sequence[str] | None = None, filter: Any = None, **_: Any) -> ds.Scanner:  # noqa: A002
        """Return a scanner of the rows that meet a condition; DuckDB calls this method.

        Args:
            columns: the columns.
            filter: an Arrow expression; `None`: every row.
        """
        names = self._schema.names if columns is None else list(columns)
        condition = "" if filter is None else str(filter)
        read = [field for field in self._schema if field.name in names or field.name in condition]
        only = [field.name for field in read]
        try:
            table = self._tables()
            parts = self._chosen(table, filter)
            if self._grows and (self._strict or not COMMON.keys() >= set(only)):
                layout = table.layout(parts)
                if layout != self._layout:
                    self.needed = layout
                    raise LayoutChangedError
        except Exception as error:
            self.error = error
            raise
        batches = self._batches(table, parts, only)
        return ds.Scanner.from_batches(batches, schema=pa.schema(read), columns=names, filter=filter)

    def _chosen(self, table: Table, condition: Any) -> list[int]:
        """Return the numbers of the parts to read."""
        return possible_parts(table, self._schema, condition)

    def _batches(self, table: Table, parts: Sequence[int], only: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            yield from table.batches(self._layout, parts, only)
        except Exception as error:
            self.error = error
            raise


class EmptyView(View):
    """A view without rows, which notes the parts that a query would read of it, and why it would skip the others."""

    def __init__(self, table: Table, layout: Layout) -> None:
        super().__init__(lambda: table, layout, grows=False)
        self.looks: list[dict[int, str | None]] = []
        """For each scan: each part with the condition that no row of it meets; `None`: the part is read."""

    def _chosen(self, table: Table, condition: Any) -> list[int]:
        parts: list[int] = list(range(len(table.facts)))
        look: dict[int, str | None] = {}
        for reason, left in _narrowed(table, self._schema, condition):
            look |= dict.fromkeys(set(parts) - set(left), reason)
            parts = left
        self.looks.append(look | dict.fromkeys(parts))
        return parts

    def _batches(self, table: Table, parts: Sequence[int], only: Sequence[str]) -> Iterator[pa.RecordBatch]:
        del table, parts, only
        return iter(())


def possible_parts(table: Table, schema: pa.Schema, condition: Any) -> list[int]:
    """Return the numbers of the parts that can have a row for which a condition holds.

    Args:
        table: the table.
        schema: has the columns of the condition.
        condition: an Arrow expression; `None`: every row.
    """
    parts = list(range(len(table.facts)))
    for _, left in _narrowed(table, schema, condition):
        parts = left
    return parts


def _narrowed(table: Table, schema: pa.Schema, condition: Any) -> Iterator[tuple[str, list[int]]]:
    """Yield each column whose values rule out parts, with the parts that are left."""
    if condition is None:
        return
    parts = list(range(len(table.facts)))
    text = str(condition)
    if "subsystem" in text:
        parts = _parts_in_blocks(table, schema, condition, by_time=False)
        yield "subsystem", parts
    if "time" in text:
        parts = _parts_in_blocks(table, schema, condition, by_time=True)
        yield "time", parts
    for key in ("level", "logger"):
        if key in text:
            names = dict(zip(parts, table.names(key, parts), strict=True))
            known = sorted({name for some in names.values() for name in some or ()})
            numbered = [(str(number), ds.field(key) == name) for number, name in enumerate(known)]
            possible = {known[int(number)] for number in _possible(numbered, schema, condition)}
            parts = [part for part in parts if (some := names[part]) is None or some & possible]
            yield key, parts


def _parts_in_blocks(table: Table, schema: pa.Schema, condition: Any, *, by_time: bool) -> list[int]:
    """Return the parts that can meet a condition on time and subsystem.

    Blocks of parts of one subsystem are checked first. A block that cannot meet the condition is skipped. A block that
    cannot meet the opposite of the condition is taken whole. In the other blocks, each part is checked.
    """
    size = _BLOCK if by_time else max(1, len(table.facts))
    by_subsystem: dict[str | None, list[int]] = {}
    for part, facts in enumerate(table.facts):
        by_subsystem.setdefault(facts.subsystem, []).append(part)
    blocks = [parts[start : start + size] for parts in by_subsystem.values() for start in range(0, len(parts), size)]
    guarantees = [(str(number), _guarantee(_of_all(table, block))) for number, block in enumerate(blocks)]
    left = set(_possible(guarantees, schema, condition))
    uncertain = set(_possible(guarantees, schema, ~condition)) | set(_possible(guarantees, schema, condition.is_null()))
    taken: list[int] = []
    single: list[int] = []
    for number, block in enumerate(blocks):
        if str(number) in left:
            (single if by_time and str(number) in uncertain else taken).extend(block)
    numbered = [(str(part), _guarantee(table.facts[part])) for part in single]
    return sorted([*taken, *(int(part) for part in _possible(numbered, schema, condition))])


def _of_all(table: Table, parts: Sequence[int]) -> PartFacts:
    """Return the facts that hold for every record of some parts."""
    facts = [table.facts[part] for part in parts]
    subsystems = {some.subsystem for some in facts}
    firsts = [some.first for some in facts if some.first is not None]
    lasts = [some.last for some in facts if some.last is not None]
    bounded = len(firsts) == len(lasts) == len(facts)
    return PartFacts(
        subsystems.pop() if len(subsystems) == 1 else None,
        min(firsts) if bounded else None,
        max(lasts) if bounded else None,
    )


def _guarantee(facts: PartFacts) -> Any:
    """Return the facts that hold for each row of a part, as an expression, also that these columns are not null."""
    guarantee = ds.scalar(True)
    if facts.subsystem is not None:
        guarantee = ds.field("subsystem") == facts.subsystem
    if facts.first is not None and facts.last is not None:
        first, last = pa.scalar(facts.first, _MOMENT), pa.scalar(facts.last, _MOMENT)
        guarantee = guarantee & (ds.field("time") >= first) & (ds.field("time") <= last)
    return guarantee


def _possible(guarantees: Sequence[tuple[str, Any]], schema: pa.Schema, condition: Any) -> list[str]:
    """Return the names of the guarantees under which a condition can hold."""
    fragments = [
        _NO_FORMAT.make_fragment(name, filesystem=_NO_FILE, partition_expression=guarantee)
        for name, guarantee in guarantees
    ]
    if not fragments:
        return []
    dataset = ds.FileSystemDataset(fragments, schema, _NO_FORMAT, _NO_FILE)
    return [fragment.path for fragment in dataset.get_fragments(filter=condition)]
