"""Arrow tables and data frames hold every record: nothing is lost, and nothing is converted."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import ConfigurationError, IPFSHandler, open_dataset
from ipfs_log_handlers.api import records_from
from ipfs_log_handlers.format.zstd_frame import zstd_library
from ipfs_log_handlers.query import columns, frames
from ipfs_log_handlers.query.dataset import Dataset
from tests.support.line_source import LineSource, dataset_of, line
from tests.support.odd_values import ODD_NAMES, odd_value


def from_polars(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the records of a Polars data frame; it keeps no metadata of columns."""
    return list(records_from(dataset.to_polars().to_arrow().cast(dataset.to_arrow().schema)))


def from_pandas(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the records of a pandas data frame."""
    table = pa.Table.from_pandas(dataset.to_pandas(), dataset.to_arrow().schema, preserve_index=False)
    return list(records_from(table))


# -- every record comes back

names = st.one_of(
    st.sampled_from(
        [
            "n",
            "N",
            "a.b",
            "",
            " ",
            "fields",
            "Fields",
            "TIME",
            "Level",
            "subsystem",
            "subsystem_",
            "log",
            "a\nb",
            "x" * 300,
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
numbers = st.one_of(st.integers(-5, 5), st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 10**40]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "1", "ä", "\0"]),
)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
extras = st.dictionaries(names, nested, max_size=6)
odd_common = st.fixed_dictionaries(
    {},
    optional={
        "time": st.sampled_from(["2026-03-02T00:00:00.000001Z", "2026-03-02T00:00:61.000000Z", "yesterday", 5, None]),
        "level": st.sampled_from(["error", 30, None, ["x"]]),
        "event": st.sampled_from(["did", None, {"a": 1}]),
        "pid": st.sampled_from([1, "1", 2**70, None, 1.5]),
        "exception": st.sampled_from(["Traceback", None, 7]),
    },
)


@settings(max_examples=150)
@given(st.lists(st.tuples(extras, odd_common).map(lambda both: {**both[0], **both[1]}), min_size=1, max_size=6))
@example([{"status": 500}, {"status": "500"}, {"status": None}, {}])
@example([{"n": 1}, {"N": 2}, {"n": 1.5}, {"n": 2**53 + 1}])
def test_every_record_comes_back_from_an_arrow_table(records):
    """Whatever types and names the fields have, `records_from` gives what iteration gives."""
    dataset = dataset_of(*(json.dumps(record).encode() for record in records))
    assert list(records_from(dataset.to_arrow())) == list(dataset)


@settings(max_examples=25)
@given(st.lists(extras, min_size=1, max_size=4))
def test_every_record_comes_back_from_data_frames(records):
    """Polars and pandas hold the same."""
    dataset = dataset_of(*(line(number, **record) for number, record in enumerate(records)))
    assert from_polars(dataset) == from_pandas(dataset) == list(dataset)


def test_whole_numbers_stay_exact_beside_other_numbers():
    """A column of doubles takes whole numbers only as far as a double holds them exactly."""
    exact = dataset_of(line(0, n=1.5), line(1, n=2**53)).to_arrow()
    beyond = dataset_of(line(0, n=1.5), line(1, n=2**53 + 1)).to_arrow()
    assert pa.float64() == exact.schema.field("n").type
    assert ["1.5", str(2**53 + 1)] == beyond.column("n").to_pylist()


def test_every_odd_value_goes_through_each_frame(tmp_path):
    """Each value that breaks loggers is in each frame what it is in iteration."""
    handler = IPFSHandler("audit", home=tmp_path / "home", keeper="none")
    for name in ODD_NAMES:
        record = logging.LogRecord("odd", 30, __file__, 1, name, None, None)
        record.__dict__["value"] = odd_value(name)
        record.__dict__[name] = odd_value(name)
        handler.handle(record)
    handler.close()
    dataset = open_dataset(tmp_path / "home")
    records = list(dataset)

    assert len(records) == len(ODD_NAMES)
    assert list(records_from(dataset.to_arrow())) == records
    assert from_polars(dataset) == from_pandas(dataset) == records
    for ending in ("parquet", "arrow", "jsonl", "jsonl.zst", "csv"):
        assert dataset.export(tmp_path / f"odd.{ending}") == len(records)
    assert list(records_from(pa.parquet.read_table(tmp_path / "odd.parquet"))) == records
    assert list(records_from(pa.ipc.open_file(tmp_path / "odd.arrow").read_all())) == records
    lines = (tmp_path / "odd.jsonl").read_bytes()
    assert lines == zstd_library().decompress((tmp_path / "odd.jsonl.zst").read_bytes())
    assert [json.loads(line) for line in lines.splitlines()] == records
    limit = csv.field_size_limit(1 << 28)
    with (tmp_path / "odd.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    csv.field_size_limit(limit)
    fields = {"time", "subsystem", "level", "logger", "event", "pid", "seq"}
    assert [json.loads(row["fields"]) for row in rows] == [
        {key: value for key, value in record.items() if key not in fields} for record in records
    ]
    assert [row["event"] for row in rows] == [record["event"] for record in records]
    answer = dataset.sql("SELECT * FROM logs_all ORDER BY seq")
    assert answer.num_rows == len(records)
    assert answer.column("event").to_pylist() == list(ODD_NAMES)
    shown = answer.column("value").to_pylist()
    assert [None if text is None else json.loads(text) for text in shown] == [r.get("value") for r in records]


HOSTILE = (
    b'{"a":NaN}', b'{"a":1e999,"b":[1e999]}', b'{"a":"\\ud800"}', b'{"\\ud800":"\\udfff","b":{"\\udc00":1}}',
    b"no JSON", b"[1]", b"", b"{}",
    b'{"time":"2026-99-99T99:99:99.000000Z"}', b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}",
    b'{"time":"2026-03-02T00:00:00.00000aZ","level":{"a":NaN}}',
)  # fmt: skip
"""Lines that only another program can have written."""


def test_lines_of_other_programs_break_no_table():
    """What JSON or UTF-8 cannot hold is shown as text, and each other record is as it was."""
    dataset = dataset_of(*HOSTILE, line(0, a=1))
    table = dataset.to_arrow()

    assert table.num_rows == len(HOSTILE) + 1
    table.validate(full=True)
    back = list(records_from(table))
    assert back[-1] == list(dataset)[-1]
    assert {"!": "not JSON", "repr": "'\\ud800'"} in [record.get("a") for record in back]
    assert {"!": "not JSON", "repr": "nan"} in [record.get("a") for record in back]
    for text in [*table.column("fields").to_pylist(), *table.column("a").to_pylist()]:
        if text is not None:
            json.loads(text, parse_constant=pytest.fail)


# -- the columns


def test_columns_have_the_types_of_their_values(queried):
    """Common keys and fields with one type are typed; a field with several is JSON; nothing is in `fields`."""
    schema = open_dataset(queried).to_arrow().schema
    moment, text, whole = pa.timestamp("us", "UTC"), pa.string(), pa.int64()
    assert dict(zip(schema.names, schema.types, strict=True)) == {
        "time": moment, "subsystem": text, "level": text, "logger": text, "event": text, "number": whole,
        "user_id": text, "status": text, "request": text, "exception": text, "stack": text, "pid": whole, "seq": whole,
        "fields": text,
    }  # fmt: skip
    kinds = {field.name: field.metadata[b"ipfs_log_handlers.type"] for field in schema if field.metadata}
    assert kinds == {"status": b"json", "request": b"json", "fields": b"rest"}


def test_names_that_sql_cannot_tell_apart_share_a_column():
    """The first of them has the column, and `fields` has the others; null that was logged stands there, too."""
    table = dataset_of(line(0, User="a", user="b", LEVEL=1, ok=True), line(1, user="c", ok=None)).to_arrow()
    assert "User" in table.schema.names
    assert "user" not in table.schema.names
    assert ['{"user":"b","LEVEL":1}', '{"user":"c","ok":null}'] == table.column("fields").to_pylist()


def test_a_log_with_endless_names_has_a_bounded_table(monkeypatch):
    """Fields beyond the largest number of columns stand in `fields`."""
    monkeypatch.setattr(columns, "_MAX_COLUMNS", 5)
    dataset = dataset_of(*(line(number, **{f"n{number}": number}) for number in range(9)))
    assert len(dataset.to_arrow().schema.names) == len(columns.COMMON) + 5 + 1
    assert list(records_from(dataset.to_arrow())) == list(dataset)


def test_chosen_fields_are_the_columns(queried):
    """After `select` a table has these columns, in this order, and the same records."""
    dataset = open_dataset(queried).select("request.path", "time", "number", "nothing")
    table = dataset.to_arrow()
    assert ["request.path", "time", "number", "nothing"] == table.schema.names
    assert pa.timestamp("us", "UTC") == table.schema.field("time").type
    assert list(records_from(table)) == list(dataset)


def test_filters_limits_and_order_hold_for_a_table(queried):
    """A table has the records of iteration, in its order."""
    dataset = open_dataset(queried).filter(level="error", subsystem=["audit", "wal"]).reverse().limit(9)
    assert list(records_from(dataset.to_arrow())) == list(dataset)
    assert open_dataset(queried).filter(event="none").to_arrow().num_rows == 0


# -- streams


def test_batches_come_one_by_one_and_read_no_further(monkeypatch):
    """A stream opens a batch of the log when its records are due; nothing is kept from the reading before."""
    monkeypatch.setattr(frames, "_MAX_HELD_BYTES", 0)
    source = LineSource([[line(ten * 10 + one) for one in range(10)] for ten in range(50)])
    reader = Dataset((source,)).to_batches(rows=7)
    assert [part.opened for part in source.all] == [1] * 50
    assert reader.read_next_batch().num_rows == 7
    assert sum(part.opened == 2 for part in source.all) < 10
    assert sum(batch.num_rows for batch in reader) == 493


def test_a_small_dataset_is_read_once():
    """Records that fit into memory are not asked for twice, which matters where they lie elsewhere."""
    source = LineSource([[line(number)] for number in range(9)])
    assert Dataset((source,)).to_arrow().num_rows == 9
    assert [part.opened for part in source.all] == [1] * 9


@pytest.mark.parametrize("rows", [0, True, "many"])
def test_a_number_of_rows_is_checked(queried, rows):
    """What is no number of records is refused."""
    with pytest.raises(ConfigurationError, match="not a number of records"):
        open_dataset(queried).to_batches(rows)


# -- files


def test_a_table_file_has_its_name_once_it_is_whole(queried, tmp_path, monkeypatch):
    """Parquet in row groups; progress is told; a failure leaves the former file and nothing else."""
    monkeypatch.setattr("ipfs_log_handlers.query.export._ROWS_OF_GROUP", 40)
    monkeypatch.setattr(Dataset, "to_batches", lambda self: frames.Frames.to_batches(self, 30))
    told: list[int] = []
    dataset = open_dataset(queried)
    target = tmp_path / "day.parquet"
    assert dataset.export(target, progress=told.append) == 150
    assert told[-1] == 150
    assert told == sorted(told)
    file = pa.parquet.ParquetFile(target)
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [60, 60, 30]

    def fail(_: int) -> None:
        raise RuntimeError("stop")

    before = target.read_bytes()
    with pytest.raises(RuntimeError, match="stop"):
        dataset.export(target, progress=fail)
    assert before == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())


def test_an_exported_file_opens_in_other_libraries(queried, tmp_path):
    """Both pandas and Polars read Parquet and Arrow files, with the types of the columns."""
    dataset = open_dataset(queried)
    dataset.export(tmp_path / "a.parquet")
    dataset.export(tmp_path / "a.arrow")
    assert len(pd.read_parquet(tmp_path / "a.parquet")) == 150
    assert pl.read_parquet(tmp_path / "a.parquet").schema["time"] == pl.Datetime("us", "UTC")
    assert pl.read_ipc(tmp_path / "a.arrow").height == 150
    assert list(records_from(pa.parquet.read_table(tmp_path / "a.parquet"))) == list(dataset)


# -- libraries are optional


@pytest.mark.parametrize(
    ("library", "method", "hint"),
    [
        ("pyarrow", "to_arrow", "pip install 'ipfs_log_handlers[query]'"),
        ("pandas", "to_pandas", "pip install pandas"),
        ("polars", "to_polars", "pip install polars"),
    ],
)
def test_a_missing_library_is_named_with_what_installs_it(queried, monkeypatch, library, method, hint):
    """The error says what needs it, what is missing, and the command that helps."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=f"{library}, which is not installed") as caught:
        getattr(open_dataset(queried), method)()
    assert hint in str(caught.value)


def test_reading_and_help_load_none_of_the_libraries(queried):
    """Neither the API nor `query --help` imports what only frames and SQL need."""
    program = (
        "import sys\nfrom click.testing import CliRunner\nfrom ipfs_log_handlers.cli import main\n"
        "from ipfs_log_handlers import open_dataset\n"
        f"assert list(open_dataset({str(queried)!r}))\n"
        "for verb in ('query', 'sql', 'export'): CliRunner().invoke(main, [verb, '--help'])\n"
        "print(*{'duckdb', 'numpy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
