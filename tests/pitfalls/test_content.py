"""What is logged, however odd, and all the way: from the call into the chain, beside good neighbours."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from tests.support import oracle
from tests.support.logging_home import handler_of, logging_to, seal_home
from tests.support.odd_values import ODD_NAMES, odd_value

LIMIT = 8 << 20
"""`max_record_bytes`, if nothing else is said."""
MARKED = {
    "bad repr", "wrong repr", "lying class", "lying dict", "bad mapping", "class", "function", "object",
    "generator", "iterator", "nan", "inf", "-inf", "10**5000", "-10**5000", "surrogate",
    "text with a bad str",
}  # fmt: skip
"""Values that stand in the record as a whole by a mark that tells the reason."""


def sealed(home):
    """Return the records in the chain, after everything is sealed."""
    seal_home(home)
    assert [] == oracle.spooled(home)
    return oracle.sealed_records(home)


def test_every_odd_value_among_good_neighbours(home):
    """Pitfall 26: one bad value of each kind between good records: all are sealed, in order, the bad ones marked."""
    with logging_to(home) as log:
        for name in ODD_NAMES:
            log.info("good", extra={"before": name})
            log.info("odd", extra={"name_": name, "value": odd_value(name)})
            log.info("good %s", odd_value(name) if name != "lying class" else "", extra={"after": name})
        assert 0 == handler_of(log)._recorder.failed

    found = sealed(home)

    assert list(ODD_NAMES) == [each["before"] for each in found if "before" in each]
    assert list(ODD_NAMES) == [each["after"] for each in found if "after" in each]
    odd = {each["name_"]: each["value"] for each in found if each["event"] == "odd"}
    assert list(ODD_NAMES) == list(odd)
    marked = {name for name, value in odd.items() if isinstance(value, dict) and {"!", "repr"} == set(value)}
    assert MARKED == marked
    assert all(odd[name]["!"] for name in marked)


def test_the_name_of_a_task_among_the_fields(home):
    """Pitfall 30: `taskName` in `extra` is a field where logging has no such attribute; since 3.12 logging refuses."""
    with logging_to(home) as log:
        if sys.version_info >= (3, 12):
            with pytest.raises(KeyError):
                log.info("x", extra={"taskName": "mine"})
            return
        for _ in range(2):
            log.info("x", extra={"taskName": "mine"})

    assert ["mine", "mine"] == [each["taskName"] for each in sealed(home)]


@pytest.mark.parametrize(
    "size", [0, 1, LIMIT - 1000, LIMIT, LIMIT + 1000, pytest.param(100 << 20, marks=pytest.mark.soak)]
)
def test_sizes_as_they_are_configured(home, size):
    """Pitfall 32: up to and beyond 8 MiB, records are sealed; what was cut tells its length, neighbours are whole."""
    with logging_to(home) as log:
        log.info("before")
        log.info("ä" * (size // 2))
        log.info("after")

    first, record, last = sealed(home)

    assert ("before", "after") == (first["event"], last["event"])
    whole = record["event"] == "ä" * (size // 2)
    assert whole or f"… (cut: {size // 2} characters, sha256 " in record["event"]
    assert whole == (size < LIMIT)


def test_a_clock_that_stands_still_and_steps_back(home):
    """Pitfall 33: times are what the clock said, to the microsecond; the order is that of the calls."""
    moments = [1e9, 1e9, 1e9 - 3600.5, 2**31 + 0.25, 253402300799.0, 1e9 + 0.000001]
    clock = iter(moments)
    with logging_to(home) as log:
        for n in range(len(moments)):
            record = log.makeRecord("t", logging.INFO, __file__, 1, "r%d", (n,), None)
            record.created = next(clock)
            log.handle(record)

    found = sealed(home)

    assert [f"r{n}" for n in range(len(moments))] == [each["event"] for each in found]
    assert list(range(1, 1 + len(moments))) == [each["seq"] for each in found]
    assert [
        "2001-09-09T01:46:40.000000Z",
        "2001-09-09T01:46:40.000000Z",
        "2001-09-09T00:46:39.500000Z",
        "2038-01-19T03:14:08.250000Z",
        "9999-12-31T23:59:59.000000Z",
        "2001-09-09T01:46:40.000001Z",
    ] == [each["time"] for each in found]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="merge_extra came with 3.13")
def test_an_adapter_that_merges(home):
    """Pitfall 34: with `merge_extra` the fields of the adapter and those of the call are in the record."""
    merging: dict[str, Any] = {"merge_extra": True}
    with logging_to(home) as log:
        logging.LoggerAdapter(log, {"a": 1, "b": 1}, **merging).info("x", extra={"b": 2})

    assert (1, 2) == tuple(sealed(home)[0][name] for name in "ab")


def test_a_record_factory_of_the_programs_own(home):
    """Pitfall 34: what a factory adds to every record is a field; `logging.disable` holds for us as for all."""
    before = logging.getLogRecordFactory()

    def factory(*args, **options):
        record = before(*args, **options)
        record.request = "abc"
        return record

    with logging_to(home) as log:
        logging.setLogRecordFactory(factory)
        try:
            log.error("x")
            logging.disable(logging.INFO)
            log.info("disabled")
        finally:
            logging.disable(logging.NOTSET)
            logging.setLogRecordFactory(before)

    assert [("x", "abc")] == [(each["event"], each["request"]) for each in sealed(home)]
