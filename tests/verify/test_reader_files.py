"""The files that a reader keeps or is given raise only our own errors, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import ConfigurationError, FormatError, LogStoreError
from ipfs_log_handlers.format.trust_policy import parse_policy
from ipfs_log_handlers.verify.forks import MAX_EVIDENCE, ForkEvidence, check_fork
from ipfs_log_handlers.verify.known_logs import KnownLog
from tests.support import chains

LOG = chains.build(3)
KEY = chains.KEY.verifier
GOOD: dict[str, Any] = {
    "form": "ipfs-logs/fork/v1",
    "older": LOG.heads[0].checkpoint.decode(),
    "newer": LOG.heads[1].checkpoint.decode(),
    "prefix": "A" * 43 + "=",
    "proof": ["A" * 43 + "="],
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Bytes are refused: none of them is a head, evidence, or a policy."""
    for read, error in ((ForkEvidence.decode, FormatError), (KnownLog.decode, LogStoreError)):
        with pytest.raises(error):
            read(data)
    with pytest.raises(ConfigurationError):
        parse_policy(data)


@given(key=st.sampled_from([*GOOD, "more"]), value=values)
def test_any_value_in_evidence(key: str, value: object) -> None:
    """Whatever stands in a field: evidence that encodes to the same bytes, and shows no fork, or a FormatError."""
    data = json.dumps({**GOOD, key: value}, ensure_ascii=True).encode()
    with pytest.raises(LogStoreError):
        check_fork(data, KEY.text)
    text = json.dumps({**GOOD, key: value}, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass") + b"\n"
    try:
        evidence = ForkEvidence.decode(text)
    except FormatError:
        return
    assert evidence.encode() == text
    with pytest.raises(LogStoreError):
        evidence.check(KEY)


@given(line=st.text(max_size=100), note=st.binary(max_size=300))
def test_any_key_or_note_of_a_remembered_head(line: str, note: bytes) -> None:
    """A note without its key, or a key without its note, is no remembered head."""
    for data in (
        b"ipfs-logs/known-log/v1\n" + line.encode("utf-8", "replace") + b"\n" + LOG.heads[0].checkpoint,
        b"ipfs-logs/known-log/v1\n" + KEY.text.encode() + b"\n" + note,
        b"ipfs-logs/known-log/v1\n-\n" + note,
    ):
        if data != KnownLog.of(LOG.heads[0].checkpoint, None).encode():
            with pytest.raises(LogStoreError):
                KnownLog.decode(data)


def test_evidence_that_is_too_long_or_too_deep_is_not_read() -> None:
    """Time and memory are bounded."""
    for data in (b" " * (MAX_EVIDENCE + 1), b"[" * 200_000, b"9" * 100_000):
        with pytest.raises(FormatError):
            ForkEvidence.decode(data)
