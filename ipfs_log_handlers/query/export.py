"""Write the records of a dataset to a complete file or none: JSON Lines, CSV, Parquet or Arrow."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.payload import Encoder
from ipfs_log_handlers.query import extras

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CSV_COLUMNS",
    "TABLE_FORMS",
    "csv_rows",
    "export_form",
    "json_line",
    "replacing",
    "write_export",
    "write_table",
]

CSV_COLUMNS: Final = ("time", "subsystem", "level", "logger", "event", "exception", "stack", "pid", "seq")
"""The columns of a CSV file without chosen fields; a last column, `fields`, has all other fields as JSON."""
_LEVEL: Final = 6
"""zstd level of a compressed export."""
_LINES_AT_ONCE: Final = 1000
"""Lines that are compressed and written at once."""
_FORMS: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".jsonl.zst": "jsonl.zst", ".csv": "csv", ".parquet": "parquet",
    ".arrow": "arrow",
}  # fmt: skip
TABLE_FORMS: Final = frozenset({"parquet", "arrow"})
"""The forms that need pyarrow."""
_ROWS_OF_GROUP: Final = 120_000
"""Number of records in a row group of Parquet: small enough to skip groups, large enough to compress well."""


def export_form(path: Path) -> str:
    """Return the form of a file by the ending of its name: `jsonl`, `jsonl.zst`, `csv`, `parquet` or `arrow`.

    Raises:
        ConfigurationError: another ending.
    """
    form = next((form for ending, form in _FORMS.items() if path.name.lower().endswith(ending)), None)
    if form is None:
        raise ConfigurationError("no form of export has this ending", where=path.name, expected=", ".join(_FORMS))
    return form


def json_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON; a character that UTF-8 cannot encode is escaped."""
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def csv_rows(records: Iterable[Mapping[str, Any]], fields: Sequence[str] | None) -> Iterator[bytes]:
    """Yield the rows of a CSV table, the first one with the titles.

    A value that is not a text is written as JSON. A missing field is an empty cell.

    Args:
        records: the records.
        fields: the columns; `None`: `CSV_COLUMNS` and `fields`.
    """
    yield _row([*fields] if fields is not None else [*CSV_COLUMNS, "fields"])
    for record in records:
        if fields is not None:
            yield _row([_cell(record[name]) if name in record else "" for name in fields])
            continue
        rest = {name: value for name, value in record.items() if name not in CSV_COLUMNS}
        known = [_cell(record[name]) if name in record else "" for name in CSV_COLUMNS]
        yield _row([*known, _cell(rest) if rest else ""])


def _row(cells: Sequence[str]) -> bytes:
    import csv

    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_export(
    path: Path, rows: Iterable[bytes], *, title: bytes = b"", compress: bool, on_row: Callable[[int], None]
) -> int:
    """Write rows to a file under a temporary name beside it, sync it, and give it its name; return the number of rows.

    Args:
        path: the file; an existing one is replaced.
        rows: the rows, each with its line end.
        title: text before the rows.
        compress: write one zstd frame.
        on_row: called with the number of rows that are written, after every thousand.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    encoder = Encoder(_LEVEL) if compress else None
    with replacing(path) as stream:
        stream.write(_encoded(encoder, title))
        return _write(stream, rows, encoder, on_row)


def write_table(path: Path, batches: pa.RecordBatchReader, *, parquet: bool, on_row: Callable[[int], None]) -> int:
    """Write Arrow batches to a file, which appears only when it is complete; return the number of records.

    Args:
        path: the file; an existing one is replaced.
        batches: the records.
        parquet: write Parquet; otherwise an Arrow file (Feather 2). Both are compressed with zstd.
        on_row: called with the number of records that are written, after every batch.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    pyarrow = extras.load("pyarrow", path.suffix)
    files = extras.load("pyarrow.parquet" if parquet else "pyarrow.ipc", path.suffix)
    count = 0
    with replacing(path) as stream:
        if parquet:
            writer = files.ParquetWriter(stream, batches.schema, compression="zstd")
        else:
            writer = files.new_file(stream, batches.schema, options=files.IpcWriteOptions(compression="zstd"))
        with writer:
            held: list[pa.RecordBatch] = []
            for batch in batches:
                held.append(batch)
                count += batch.num_rows
                if not parquet or sum(held_batch.num_rows for held_batch in held) >= _ROWS_OF_GROUP:
                    writer.write_table(pyarrow.Table.from_batches(held))
                    held.clear()
                on_row(count)
            if held:
                writer.write_table(pyarrow.Table.from_batches(held))
    on_row(count)
    return count


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside a path; sync it and rename it to the path if the block ends without an error."""
    import secrets  # takes some of the time of a short query

    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with beside.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


def _write(stream: BinaryIO, rows: Iterable[bytes], encoder: Encoder | None, on_row: Callable[[int], None]) -> int:
    count = 0
    held: list[bytes] = []
    for row in rows:
        count += 1
        held.append(row)
        if len(held) == _LINES_AT_ONCE:
            stream.write(_encoded(encoder, b"".join(held)))
            held.clear()
            on_row(count)
    stream.write(_encoded(encoder, b"".join(held)))
    if encoder is not None:
        stream.write(encoder.finish())
    on_row(count)
    return count


def _encoded(encoder: Encoder | None, data: bytes) -> bytes:
    return data if encoder is None else encoder.add(data)
