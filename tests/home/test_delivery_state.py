from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.delivery_state import DeliveryState, LastError
from ipfs_log_handlers.stores.address import store_name
from tests.support.mutations import assert_refused, assert_total, cuts, flips, with_junk

LOG = "ipfs-logs/0011223344556677/logs/01234567"
MARK = DeliveryState(log=LOG, address="http://127.0.0.1:5001").confirm([0, 1, 3]).set_aside(4, "too bad")
MARK = replace(MARK, head="bafy", last_error=LastError("timeout", "no answer", 12.5, 13.5))


class TestMark:
    def test_both_ways(self, tmp_path: Path) -> None:
        """What is stored is loaded again, trouble and reasons too."""
        delivery_state.store(tmp_path, "s", MARK)
        assert MARK == delivery_state.load(tmp_path, "s", LOG, "x")
        assert {"s": MARK} == delivery_state.load_all(tmp_path)

    def test_what_is_confirmed(self) -> None:
        """Home rule 25: confirmed up to, confirmed beyond, set aside; the rest is missing."""
        assert (1, (3,)) == (MARK.confirmed_through, MARK.confirmed_after)
        assert [True, True, False, True, False, False] == [MARK.has(index) for index in range(6)]
        assert [True, True, False, True, True, False] == [MARK.settled(index) for index in range(6)]
        assert [2, 5] == list(MARK.missing(5))
        assert (4, ()) == (MARK.confirm([2]).confirmed_through, MARK.confirm([2]).confirmed_after)
        assert not MARK.confirm([2]).has(4)

    @given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=20))
    def test_any_order(self, steps: list[tuple[int, bool]]) -> None:
        """In whatever order batches are confirmed and set aside, what is missing is what was never settled."""
        mark, settled = DeliveryState(log=LOG, address="x"), set[int]()
        for index, confirmed in steps:
            mark = mark.confirm([index]) if confirmed else mark.set_aside(index, "bad")
            settled.add(index)
        assert [index for index in range(13) if index not in settled] == list(mark.missing(12))
        for newest in range(-1, 13):
            missing = list(mark.missing(newest))
            assert (len(missing), bool(missing)) == (mark.count_missing(newest), mark.lacks(newest))
        assert mark == DeliveryState.decode(mark.encode())

    def test_mutants(self) -> None:
        """Cut or with any bit flipped a mark is refused: the store is then asked again, which is harmless."""
        data = MARK.encode()
        assert_refused(DeliveryState.decode, list(cuts(data))[:-1])
        assert_refused(DeliveryState.decode, flips(data[:-1]))
        assert_refused(DeliveryState.decode, with_junk(data))
        assert_total(DeliveryState.decode, flips(data))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("v", 2),
            ("log", 1),
            ("upto", "1"),
            ("upto", -2),
            ("upto", 1.5),
            ("beyond", [True]),
            ("beyond", 3),
            ("aside", [[1]]),
            ("aside", [["1", "x"]]),
            ("aside", [[1, 2]]),
            ("trouble", ["silent"]),
            ("trouble", ["silent", "x", None, 2]),
            ("trouble", ["silent", "x", "1", "2"]),
            ("head", 5),
            ("more", 1),
        ],
    )
    def test_refused(self, name: str, value: Any) -> None:
        """A mark whose checksum holds, but whose members are of another kind, is refused."""
        members = json.loads(line.decode(MARK.encode()[:-1]).json)
        with pytest.raises(FormatError):
            DeliveryState.decode(line.record(json.dumps({**members, name: value}).encode()))


class TestLoading:
    @pytest.mark.parametrize("content", [b"", b"x", MARK.encode()[:-3], line.record(b"{}")])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        """A damaged mark is as none: everything is shipped again."""
        (tmp_path / "s").write_bytes(content)
        assert DeliveryState(log=LOG, address="a") == delivery_state.load(tmp_path, "s", LOG, "a")
        assert {} == delivery_state.load_all(tmp_path)

    def test_other_log(self, tmp_path: Path) -> None:
        """Home rule 10: what a store confirmed of another log says nothing about this one."""
        delivery_state.store(tmp_path, "s", MARK)
        assert -1 == delivery_state.load(tmp_path, "s", LOG[:-1] + "8", "a").confirmed_through

    def test_missing(self, tmp_path: Path) -> None:
        """Before the first answer of a store there is no mark, and no directory."""
        assert {} == delivery_state.load_all(tmp_path / "no")
        assert DeliveryState(log=LOG, address="a") == delivery_state.load(tmp_path / "no", "s", LOG, "a")

    def test_half_written(self, tmp_path: Path) -> None:
        """What a crash left of a mark that was being written is no mark."""
        (tmp_path / "s.1.tmp").write_bytes(MARK.encode())
        assert {} == delivery_state.load_all(tmp_path)


class TestStoreName:
    def test_hash_of_the_address(self) -> None:
        """Home, names: a store is named by its normalised address, 16 hex digits; another spelling, same store."""
        name = store_name("http://127.0.0.1:5001")
        assert 16 == len(name) == len(bytes.fromhex(name).hex())
        assert name == store_name("http://127.0.0.1:5001/")
        assert name != store_name("http://127.0.0.1:5002")
