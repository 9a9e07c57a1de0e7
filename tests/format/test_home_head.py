"""Home heads: one encoding for each, and a signature over everything in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, LogStoreError, VerificationError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, open_note, sign_note
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.home_head import MAX_BLOCK, MAX_LOGS, HomeHead, LogHead
from tests.support import mutations

KEY = SecretKey.generate(bytes(range(32)))
STRANGER = SecretKey.generate(bytes(32))
TIME = 1796035200_123456


def head_of(number: int) -> Cid:
    """Return a CID."""
    return Cid.of(DAG_CBOR, bytes([number % 256]))


def log_head(subsystem: str = "audit", index: int = 7, *, key: SecretKey = KEY, draw: str = "1b0e44d2") -> LogHead:
    """Return the head of a log."""
    return LogHead(f"{key.name}/{subsystem}/{draw}", index, head_of(index))


def made(*logs: LogHead, counter: int = 1796035200, time: int = TIME) -> HomeHead:
    """Return a home head."""
    return HomeHead.sign(KEY, counter=counter, time=time, logs=logs or (log_head(), log_head("wal", 0)))


def changed(key: str, value: object) -> bytes:
    """Return a block with another value under one key."""
    head = made()
    logs = [{"log": log.log, "index": log.index, "head": log.head} for log in head.logs]
    return dagcbor.encode({"v": 1, "logs": logs, "note": head.note} | {key: value})


def noted(text: str) -> bytes:
    """Return the block of a signed text, whose logs are those of `made`."""
    return changed("note", sign_note(text.encode(), KEY))


numbers = st.integers(0, (1 << 63) - 1)
log_heads = st.builds(
    lambda subsystem, draw, index: log_head(subsystem, index, draw=draw),
    st.from_regex(r"[a-z0-9_]{1,64}", fullmatch=True),
    st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    numbers,
)


@pytest.mark.slow
@given(
    st.lists(log_heads, min_size=1, max_size=8, unique_by=lambda log: log.log),
    numbers,
    st.integers(0, 253_402_300_799_999_999),
)
def test_a_home_head_comes_back(logs, counter, time):
    """What is signed is read again, whatever the order of the logs."""
    head = made(*logs, counter=counter, time=time)
    again = HomeHead.decode(head.encode())
    again.verify(KEY.verifier)
    assert again == head
    assert (again.key_name, again.counter, again.time) == (KEY.name, counter, time)
    assert list(again.logs) == sorted(logs)
    assert again.cid == Cid.of(DAG_CBOR, head.encode())
    with pytest.raises(VerificationError, match="another key"):
        again.verify(STRANGER.verifier)


@pytest.mark.slow
def test_every_changed_bit_is_found():
    """Also every cut, and everything that stands behind it."""

    def read(block: bytes) -> None:
        HomeHead.decode(block).verify(KEY.verifier)

    block = made().encode()
    read(block)
    for mutant in mutations.mutants(block):
        with pytest.raises(LogStoreError):
            read(mutant)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data):
    """The decoder has two ways out, and reads one encoding."""
    block = made().encode()
    mutations.assert_canonical(HomeHead.decode, HomeHead.encode, [data, block[: len(block) // 2] + data, block + data])
    lines = data.decode("utf-8", "replace").replace("\n\n", "\n")
    mutations.assert_canonical(HomeHead.decode, HomeHead.encode, [noted(f"ipfs-logs home head v1\n{lines}\n")])


def test_what_the_note_does_not_say_is_refused():
    """Links and note must agree; the note decides."""
    head = made()
    logs = [{"log": log.log, "index": log.index, "head": log.head} for log in head.logs]
    for block in (
        changed("v", 2),
        changed("v", True),
        changed("more", 1),
        changed("note", "text"),
        changed("logs", logs[:1]),
        changed("logs", logs[::-1]),
        changed("logs", []),
        changed("logs", {"0": logs[0]}),
        changed("logs", [logs[0], {**logs[1], "index": 1}]),
        changed("logs", [logs[0], {**logs[1], "index": False}]),
        changed("logs", [logs[0], {**logs[1], "head": logs[0]["head"]}]),
        changed("logs", [logs[0], {**logs[1], "head": Cid.of(RAW, b"")}]),
        changed("logs", [logs[0], {**logs[1], "more": 1}]),
        bytes(MAX_BLOCK + 1),
    ):
        with pytest.raises(FormatError):
            HomeHead.decode(block)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("head v1", "head v2"),
        ("\n1796035200\n", "\n01796035200\n"),
        ("\n1796035200\n", "\n-1\n"),
        ("\n1796035200\n", "\n9223372036854775808\n"),
        (".123456Z", ".12345Z"),
        (".123456Z", ".123456z"),
        ("-30T", "-31T"),
        (" 7 ", " 07 "),
        (" 7 ", " 7  "),
        ("audit", "AUDIT"),
        (f"{KEY.name}/wal", f"{STRANGER.name}/wal"),
        (f"{KEY.name}/wal", f"{KEY.name}/audit"),
    ],
)
def test_another_text_is_refused_although_it_is_signed(old, new):
    """Numbers, times and lines have one spelling, and the logs are those of the key, each once, in order."""
    text = open_note(made().note, KEY.verifier).decode()
    assert HomeHead.decode(noted(text)) == made()
    assert old in text
    with pytest.raises(FormatError):
        HomeHead.decode(noted(text.replace(old, new, 1)))


def test_what_cannot_be_signed():
    """Too many logs, none, a log twice, one of another key."""
    for logs in (
        [],
        [log_head(draw=f"{number:08x}") for number in range(MAX_LOGS + 1)],
        [log_head(), log_head(index=8)],
        [log_head(key=STRANGER)],
    ):
        with pytest.raises(FormatError):
            HomeHead.sign(KEY, counter=1, time=TIME, logs=logs)
    with pytest.raises(FormatError):
        made(counter=-1)
    largest = [log_head("a" * 64, (1 << 63) - 1, draw=f"{number:08x}") for number in range(MAX_LOGS)]
    assert len(made(*largest, counter=(1 << 63) - 1).encode()) <= MAX_BLOCK


def test_a_signature_is_for_one_kind_of_text():
    """No home head is a checkpoint, and no checkpoint a home head, although one key signs both."""
    with pytest.raises(FormatError):
        Checkpoint.open(made().note, KEY.verifier)
    checkpoint = Checkpoint(f"{KEY.name}/audit/1b0e44d2", 8, bytes(32)).signed(KEY)
    with pytest.raises(FormatError):
        HomeHead.decode(changed("note", checkpoint))


def test_the_bytes_never_change():
    """A home head as it was frozen."""
    assert made().cid.text == "bafyreibcwjkcjgybwhyb2szfimgkqwmjls6fxmkdps3hmkauv7ml446lei"
