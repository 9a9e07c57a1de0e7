"""Make Arrow record batches from records, and records from Arrow tables. This module needs pyarrow."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.query.columns import REST, Kind, Layout, fits, json_text, time_micros
from ipfs_log_handlers.query.comparison import MISSING
from ipfs_log_handlers.query.rows import columns_in

__all__ = ["batch_of_text", "batches_of", "record_batch", "records_from", "schema_of"]

_TYPES: Final[Mapping[Kind, pa.DataType]] = {
    Kind.TIME: pa.timestamp("us", "UTC"),
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.FLAG: pa.bool_(),
    Kind.JSON: pa.string(),
}
_TYPE: Final = b"ipfs_log_handlers.type"
"""Metadata of a column of JSON text: `json`, or `rest` for the column `fields`."""
_DUCKDB_JSON: Final = {b"ARROW:extension:name": b"arrow.json", b"ARROW:extension:metadata": b""}
"""Metadata with which DuckDB reads a column of text as its type JSON."""
_USUAL_TIME: Final = r"^[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
"""The form of the times that this package writes; Arrow refuses a day or an hour that does not exist."""
_Records = Sequence[dict[str, Any]] | defaultdict[int, dict[str, Any]]
"""Records by their numbers, into which values that fit into no column are put back."""
_PLAIN: Final[Mapping[Kind, frozenset[type]]] = {
    Kind.TEXT: frozenset({str, object}),
    Kind.INTEGER: frozenset({int, object}),
    Kind.NUMBER: frozenset({float, int, object}),
    Kind.FLAG: frozenset({bool, object}),
}
"""The types of values that a column accepts without a check of each value; `object` is the type of `MISSING`."""


def schema_of(layout: Layout, *, for_duckdb: bool = False) -> pa.Schema:
    """Return the Arrow schema of a layout.

    Args:
        layout: the columns.
        for_duckdb: mark columns of JSON text so that DuckDB gives them its type JSON.
    """
    fields = [_field(name, kind, "json", for_duckdb) for name, kind in layout.columns.items()]
    return pa.schema([*fields, _field(REST, Kind.JSON, "rest", for_duckdb)] if layout.has_rest else fields)


def _field(name: str, kind: Kind, kept_as: str, for_duckdb: bool) -> pa.Field:  # noqa: FBT001
    if kind is not Kind.JSON:
        return pa.field(name, _TYPES[kind])
    return pa.field(name, _TYPES[kind], metadata={_TYPE: kept_as.encode(), **(_DUCKDB_JSON if for_duckdb else {})})


def record_batch(
    layout: Layout,
    schema: pa.Schema,
    records: Sequence[dict[str, Any]],
    *,
    only: Collection[str] | None = None,
    times: Sequence[int | None] | None = None,
) -> pa.RecordBatch:
    """Make a batch of records. This removes the members of the mappings.

    Args:
        layout: the columns.
        schema: that of `schema_of(layout)`.
        records: the records.
        only: the columns to make; `None`: all.
        times: µs since 1970 for the column `time`, for records that have no time of their own.

    Raises:
        FormatError: a value fits into no column, and the layout has no column `fields`.
    """
    wanted = {field.name for field in schema} if only is None else set(only)
    with_rest = layout.has_rest and REST in wanted
    arrays: dict[str, pa.Array] = {}
    for name, kind in layout.columns.items():
        if name in wanted or with_rest:
            values = [record.pop(name, MISSING) for record in records]
            array = _array(name, kind, values, records if layout.has_rest else None)
            if name == "time" and times is not None:
                array = _with_times(array, times)
            arrays[name] = array
    if with_rest:
        arrays[REST] = pa.array([json_text(record) if record else None for record in records], pa.string())
    fields = [field for field in schema if field.name in wanted]
    if not fields:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(records), pa.struct([])))
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in fields], schema=pa.schema(fields))


def batch_of_text(
    layout: Layout, schema: pa.Schema, text: bytes, subsystem: str, *, only: Collection[str], origin: str | None = None
) -> pa.RecordBatch | None:
    """Make a batch of all records of a text, as `record_batch` does, without a mapping for each record.

    Args:
        layout: the columns.
        schema: that of `schema_of(layout)`.
        text: the lines of the records, each ended by LF.
        subsystem: the subsystem of the records.
        only: the columns to make.
        origin: the origin that the records show; `None`: none.

    Returns:
        `None` where a record needs a look of its own.
    """
    if REST in only:
        return None
    fields = [field for field in schema if field.name in only]
    found = columns_in(text, subsystem, [field.name for field in fields], origin)
    if found is None:
        return None
    count, columns = found
    if not fields:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
    unfit: defaultdict[int, dict[str, Any]] = defaultdict(dict)
    arrays = {name: _array(name, layout.columns[name], values, unfit) for name, values in columns.items()}
    if "time" in arrays and arrays["time"].null_count:
        return None
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in fields], schema=pa.schema(fields))


def _array(name: str, kind: Kind, values: list[Any], records: _Records | None) -> pa.Array:
    """Make a column; a value that does not fit is put back into its record."""
    if kind is Kind.JSON:
        return pa.array([None if value is MISSING else json_text(value) for value in values], pa.string())
    if kind is Kind.TIME:
        array = _moments(values)
        if array is not None:
            return array
        moments = [time_micros(value) if type(value) is str else None for value in values]
        _put_back(
            name, [value if moment is None else MISSING for value, moment in zip(values, moments, strict=True)], records
        )
        return pa.array(moments, _TYPES[kind])
    if set(map(type, values)) <= _PLAIN[kind]:
        try:
            array = pa.array([None if value is MISSING else value for value in values], _TYPES[kind])
            if kind is not Kind.NUMBER or not pc.any(pc.is_nan(array)).as_py():
                return array
        except (pa.ArrowException, OverflowError, UnicodeError):
            pass  # a number or text is out of bounds
    fitting = [value if value is not MISSING and fits(kind, value) else None for value in values]
    unfit = [value if fit is None else MISSING for value, fit in zip(values, fitting, strict=True)]
    _put_back(name, unfit, records)
    return pa.array(fitting, _TYPES[kind])


def _moments(values: list[Any]) -> pa.Array | None:
    """Return times of records as moments; `None` where one of them is not of the usual form."""
    if set(map(type, values)) != {str}:
        return None
    try:
        texts = pa.array(values, pa.string())
        if not pc.all(pc.match_substring_regex(texts, _USUAL_TIME)).as_py():
            return None
        return texts.cast(_TYPES[Kind.TIME])
    except (pa.ArrowException, UnicodeError):
        return None


def _put_back(name: str, values: Sequence[Any], records: _Records | None) -> None:
    """Put the values that are in no column back into their records.

    Args:
        name: the field.
        values: a value for each record, or `MISSING`.
        records: the records; `None`: the layout has no column for such values, and null may be left out.
    """
    for number, value in enumerate(values):
        if value is MISSING:
            continue
        if records is not None:
            records[number][name] = value
        elif value is not None:
            raise FormatError(
                "a field has another type than a moment ago", where=name, found=ascii(value)[:80], hint="Read it again."
            )


def _with_times(array: pa.Array, times: Sequence[int | None]) -> pa.Array:
    if not array.null_count:
        return array
    own = array.cast(pa.int64()).to_pylist()
    both = [given if moment is None else moment for moment, given in zip(own, times, strict=True)]
    return pa.array(both, _TYPES[Kind.TIME])


def batches_of(layout: Layout, records: Iterable[dict[str, Any]], rows: int) -> Iterator[pa.RecordBatch]:
    """Yield batches of a limited number of records."""
    schema = schema_of(layout)
    held: list[dict[str, Any]] = []
    for record in records:
        held.append(record)
        if len(held) == rows:
            yield record_batch(layout, schema, held)
            held = []
    if held:
        yield record_batch(layout, schema, held)


def records_from(table: Any) -> Iterator[dict[str, Any]]:
    """Yield the records of an Arrow table of a dataset, in the form of the iteration over the dataset.

    A null is a field that the record does not have. If a field has whole and other numbers, all become `float`. The
    table may come from a file that `Dataset.export` has written.

    Args:
        table: a `pyarrow.Table` or `RecordBatch` with unchanged columns and metadata of columns.
    """
    columns = [_values(field, table.column(field.name)) for field in table.schema]
    names = table.schema.names
    rest = next((field.name for field in table.schema if (field.metadata or {}).get(_TYPE) == b"rest"), None)
    for row in zip(*columns, strict=True):
        record = {name: value for name, value in zip(names, row, strict=True) if value is not MISSING}
        more = record.pop(rest, None) if rest is not None else None
        yield record if more is None else {**record, **more}


def _values(field: pa.Field, column: Any) -> list[Any]:
    """Return the values of a column in the form of records; `MISSING` for null."""
    if pa.types.is_timestamp(field.type):
        return [MISSING if moment is None else rfc3339(moment) for moment in column.cast(pa.int64()).to_pylist()]
    if (field.metadata or {}).get(_TYPE) is not None:
        return [MISSING if text is None else json.loads(text) for text in column.to_pylist()]
    return [MISSING if value is None else value for value in column.to_pylist()]
