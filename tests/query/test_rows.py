"""What is decoded at once is what is decoded line by line, or is left to it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipfs_log_handlers.query.arrow import batch_of_text, record_batch, schema_of
from ipfs_log_handlers.query.columns import COMMON, Kind, Layout
from ipfs_log_handlers.query.comparison import MISSING
from ipfs_log_handlers.query.rows import columns_in, mappings_in
from ipfs_log_handlers.reader.lines import record_of

FIELDS = ["time", "subsystem", "level", "status", "a.b", "späť", 'a "quote"', "back\\slash", "subsystem_", ""]
TIMES = [
    "2026-03-02T08:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "2026-02-30T08:00:00.000000Z", "2026-03-02 08:00:00Z",
    "2026-03-02T24:00:00.000000Z", "0000-03-02T08:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "yesterday",
    "2026-03-02T08:00:00.1+00:00", "2026-03-02T23:59:60.000000Z", "2026-03-02T08:00:00.00000\u0661Z",
]  # fmt: skip
values = st.one_of(
    st.sampled_from([*TIMES, "error", "späť", "\ud800", 'say "hi"']),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)
lines = st.one_of(
    st.builds(
        lambda record, escaped: json.dumps(record, ensure_ascii=escaped).encode("utf-8", "surrogatepass"),
        st.dictionaries(st.sampled_from(FIELDS), values, max_size=4),
        st.booleans(),
    ),
    st.sampled_from(
        [b"", b"[]", b"null", b"{}{}", b'{"level":"a","level":"b"}', b'{"x":"\xff","level":1}', b'{"l\\u0065vel":"c"}',
         b' {"level":1}\r', b'{"x":1e999,"level":2}', b'{"status":NaN}', b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}"]
    ),
)  # fmt: skip


@given(st.lists(lines, max_size=5), st.lists(st.sampled_from(FIELDS), unique=True))
@example([b'{"x":', b"1}", b"{}{}"], ["level"])
@example([b"{}{}", b""], [])
def test_records_decoded_at_once_are_those_decoded_one_by_one(written: list[bytes], names: list[str]) -> None:
    """No record is joined, split, left out or changed, whatever its line is."""
    text = b"".join(line + b"\n" for line in written)
    records = [record_of(line, "audit") for line in written]
    found = columns_in(text, "audit", names)
    if found is not None:
        columns = {name: [record.get(name, MISSING) for record in records] for name in names}
        assert found[0] == len(written)
        assert _comparable(columns) == _comparable(found[1])
    whole = mappings_in(text)
    if whole is not None:
        assert _comparable(records) == _comparable([{**record, "subsystem": "audit"} for record in whole])


def _comparable(values: Any) -> str:
    """Return a text that shows also NaN, the types and the order of lists."""
    if isinstance(values, dict):
        return repr(sorted((name, repr(value)) for name, value in values.items()))
    return repr([_comparable(value) if isinstance(value, dict) else value for value in values])


def test_usual_records_are_decoded_at_once() -> None:
    """The fast way is taken for what this package writes, with texts of any language and escapes."""
    text = '{"time":"2026-03-02T08:00:00.000001Z","level":"info","event":"späť \\"now\\"\\n"}\n'.encode()
    assert columns_in(text, "audit", ["event", "subsystem", "status"]) == (
        1, {"event": ['späť "now"\n'], "subsystem": ["audit"], "status": [MISSING]},
    )  # fmt: skip
    assert columns_in(text, "audit", []) == (1, {})
    assert mappings_in(text) == [
        {key: value for key, value in record_of(text[:-1], "audit").items() if key != "subsystem"}
    ]


@given(st.lists(lines, max_size=4), st.lists(st.sampled_from(["time", "level", "status"]), unique=True))
@example([b'{"time":"%b"}' % time.encode() for time in TIMES], ["time"])
def test_a_batch_of_a_text_is_the_batch_of_its_records(written: list[bytes], only: list[str]) -> None:
    """Columns that are made from a text have the values of those made from mappings."""
    layout = Layout({**COMMON, "status": Kind.INTEGER})
    schema = schema_of(layout)
    text = b"".join(line + b"\n" for line in written)
    made = batch_of_text(layout, schema, text, "audit", only=only)
    if made is not None:
        records = [record_of(line, "audit") for line in written]
        assert made == record_batch(layout, schema, records, only=only)


@pytest.mark.parametrize("time", TIMES)
def test_times_are_those_of_each_record(time: str) -> None:
    """A column of times made at once equals one made record by record."""
    layout = Layout(COMMON)
    both = record_batch(layout, schema_of(layout), [{"time": time}, {"time": None}], only=["time"])
    alone = record_batch(layout, schema_of(layout), [{"time": time}], only=["time"])
    assert both.column(0).cast(pa.int64())[0] == alone.column(0).cast(pa.int64())[0]
