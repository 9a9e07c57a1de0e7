"""The state of a name: it comes back as it was written, and whatever is damaged is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.format.ipns_record import MAX_SEQUENCE, name_of_key
from ipfs_log_handlers.home import disk, name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.name_state import Confirmed, NameState, PublishError
from tests.support.mutations import assert_canonical, assert_total, mutants

KEY = SecretKey.generate(bytes(32))
LOG = f"{KEY.name}/audit/1b0e44d2"
HEAD = HomeHead.sign(KEY, counter=5, time=0, logs=[LogHead(LOG, 3, Cid.of(DAG_CBOR, b"a"))])
CIDS = [Cid.of(DAG_CBOR, bytes([number])).text for number in range(100)]
STATE = NameState(
    name=name_of_key(bytes(32)),
    sequence=7,
    block=HEAD.encode(),
    validity=9_000_000,
    ttl=2,
    pinned={"store": tuple(CIDS[:2])},
    confirmed=Confirmed(HEAD.cid.text, 7, 1.5, 9_000_000, "http://127.0.0.1:5001", {LOG: 3}),
    last_error=PublishError("no routing", 2.5, 3.5),
)

times = st.floats(0, 253_402_300_799) | st.integers(0, 253_402_300_799)
states = st.builds(
    NameState,
    name=st.just("") | st.binary(min_size=32, max_size=32).map(name_of_key),
    sequence=st.integers(0, MAX_SEQUENCE),
    block=st.sampled_from([b"", HEAD.encode()]),
    validity=st.integers(0, 253_402_300_799_000_000),
    ttl=st.integers(0, MAX_SEQUENCE),
    pinned=st.dictionaries(st.text(max_size=8), st.lists(st.sampled_from(CIDS), max_size=3).map(tuple), max_size=2),
    confirmed=st.none()
    | st.builds(
        Confirmed,
        st.sampled_from(CIDS),
        st.integers(0, MAX_SEQUENCE),
        times,
        st.integers(0, 253_402_300_799_000_000),
        st.text(max_size=8),
        st.dictionaries(st.text(max_size=8), st.integers(0, MAX_SEQUENCE), max_size=2),
    ),
    last_error=st.none() | st.builds(PublishError, st.text(max_size=8), times, times),
)


@given(states)
def test_it_comes_back(state):
    """What is written is read again."""
    assert NameState.decode(state.encode()) == state


def test_every_changed_bit_is_found():
    """Also each cut; a home head in it is decoded, too."""
    assert NameState.decode(STATE.encode()) == STATE
    for mutant in mutants(STATE.encode()):
        with pytest.raises(FormatError):
            NameState.decode(mutant)


@given(st.dictionaries(st.sampled_from(sorted(json.loads(STATE.encode()[9:]))), st.none() | st.text() | st.integers()))
def test_other_members_are_refused_or_read(changes):
    """The checksum is right, the members are not."""
    members = json.loads(STATE.encode()[9:]) | changes
    data = line.record(json.dumps(members, separators=(",", ":")).encode())
    assert_canonical(NameState.decode, NameState.encode, [STATE.encode()])
    assert_total(NameState.decode, [data])


def test_numbers_only_grow():
    """The next number is larger than the last, and than any that was drawn before by the clock."""
    assert NameState(sequence=7).next_number(3.9) == 8
    assert NameState(sequence=7).next_number(1796035200.9) == 1796035200
    assert NameState().next_number(1796035200.9) == 1796035200


def test_pins_are_remembered_and_forgotten():
    """At most 64 for a store, the newest last, each once."""
    state = NameState()
    for text in CIDS:
        state = state.with_pin("a", Cid.parse(text))
    assert state.pinned["a"] == tuple(CIDS[-64:])
    state = state.with_pin("a", Cid.parse(CIDS[-64]))
    assert state.pinned["a"] == (*CIDS[-63:], CIDS[-64])
    assert state.without_pins("a", tuple(CIDS[-63:])).pinned["a"] == (CIDS[-64],)


def test_published_is_what_a_resolve_gave_back():
    """The same home head under the same number; a renewed record is not published before it was resolved."""
    assert STATE.is_published
    assert not NameState(**{**{name: getattr(STATE, name) for name in STATE.__slots__}, "sequence": 8}).is_published
    assert not NameState(**{**{name: getattr(STATE, name) for name in STATE.__slots__}, "validity": 0}).is_published


def test_a_file(tmp_path: Path):
    """A missing one is a new state; a damaged one is told."""
    disk.ensure_directory(tmp_path / "home")
    home = HomeDir(tmp_path / "home")
    assert name_state.load(home) == NameState()
    name_state.store(home, STATE)
    assert name_state.load(home) == STATE
    assert 0o600 == home.name_state.stat().st_mode & 0o777
    home.name_state.write_bytes(STATE.encode()[:-1])
    with pytest.raises(FormatError, match="cut"):
        name_state.load(home)
