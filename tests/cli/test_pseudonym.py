"""`keys pseudonym`: the pseudonyms that a value has in the log, for those who may read the keys."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.home import pseudonym_keys
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run


def test_a_value_is_found_in_the_log(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb and the method give what stands in the record; other values have other pseudonyms."""
    sample_homes.log(home, range(3), redact={"number": "pseudonym"})
    sample_homes.log(home, range(3), "wal", redact={"number": "pseudonym"})
    sample_homes.seal(home)
    stored = run("cat", "audit", home=home).objects
    for number, record in enumerate(stored):
        (printed,) = run("keys", "pseudonym", str(number), "audit", home=home).objects
        assert printed["pseudonym"] == record["number"]
        found = run("query", "audit", "-w", f"number={printed['pseudonym']}", home=home).objects
        assert [record["seq"] for record in found] == [record["seq"]] == [number + 1]
    both = open_home(home).pseudonyms("0")
    assert [each.subsystem for each in both] == ["audit", "wal"]
    assert len({each.pseudonym for each in both}) == 2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"0\n")))
    assert run("keys", "pseudonym", "-", "audit", home=home).objects == [both[0].as_json()]


def test_months_without_a_key(home: Path) -> None:
    """An erased key, another month, or a home that never made one: nothing is printed, and exit code 1 says so."""
    sample_homes.make(home, 3)
    assert run("keys", "pseudonym", "1", home=home).code == 1
    sample_homes.log(home, range(3), redact={"number": "pseudonym"})
    (month,) = pseudonym_keys.periods(HomeDir(home), "audit")
    assert run("keys", "pseudonym", "1", "--period", month, home=home).code == 0
    assert "of 2001-01" in run("keys", "pseudonym", "1", "--period", "2001-01", home=home).err
    pseudonym_keys.remove(HomeDir(home), "audit", month)
    assert run("keys", "pseudonym", "1", home=home).code == 1
    assert run("keys", "pseudonym", "1", "nothing", home=home).code == 2
