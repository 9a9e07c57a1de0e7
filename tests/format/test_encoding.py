"""The table of payload encodings: every encoding is named, checked, opened and counted in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ipfs_log_handlers
from ipfs_log_handlers.errors import FormatError, NoIdentityError
from ipfs_log_handlers.format import unixfs
from ipfs_log_handlers.format.encoding import ENCODINGS, JSONL, JSONL_AGE, UNIXFS, UNIXFS_AGE, encoding_of
from ipfs_log_handlers.format.payload import Encoder, prefix

LOG = "ipfs-logs/0123456789abcdef/audit/00000000"
PACKAGE = Path(ipfs_log_handlers.__file__).parent


def test_every_encoding_is_found_by_its_name() -> None:
    """The key of the table is the name in the manifest."""
    assert [JSONL, JSONL_AGE, UNIXFS, UNIXFS_AGE] == list(ENCODINGS)
    assert all(encoding_of(name).name == name for name in ENCODINGS)


@pytest.mark.parametrize("name", ["gzip", "", None, ["unixfs"]])
def test_an_unknown_encoding_is_refused_with_what_to_do(name: str) -> None:
    """The message names the encodings that are known."""
    with pytest.raises(FormatError, match="does not know") as caught:
        encoding_of(name)

    assert "upgrade" in str(caught.value)
    assert JSONL in str(caught.value)


def test_records_are_opened_as_lines_and_counted_as_stored() -> None:
    """`lines` gives the records, `stored_bytes` what `size` must be."""
    encoder = Encoder(1)
    data = prefix(bytes(range(32)), LOG, 3) + encoder.add(b'{"a":1}\n{}\n') + encoder.finish()
    blocks = dict(unixfs.build([data]))
    encoding = encoding_of(JSONL)

    assert [b'{"a":1}', b"{}"] == list(encoding.lines([data], log=LOG, index=3, raw=11, size=len(data)))
    assert bytes(range(32)) == encoding.salt(data)
    assert len(data) == encoding.stored_bytes(list(blocks)[-1], blocks.__getitem__, 1 << 20)


def test_an_archive_has_no_records_and_is_counted_by_its_files() -> None:
    """Opened as records it has none; its bytes are those of the file."""
    blocks = dict(unixfs.build([b"x" * 3_000_000]))
    encoding = encoding_of(UNIXFS)

    assert [] == list(encoding.lines([b"x"], log=LOG, index=0, raw=1, size=1))
    assert bytes(32) == encoding.salt(b"x")
    assert 3_000_000 == encoding.stored_bytes(list(blocks)[-1], blocks.__getitem__, 3_000_000)


def test_encrypted_records_are_not_opened_without_their_key() -> None:
    """Only what is in the age file can be opened as records; the file itself is counted as stored."""
    encoding = encoding_of(JSONL_AGE)

    assert encoding.within == JSONL
    for read in (
        lambda: encoding.lines([b"x"], log=LOG, index=3, raw=11, size=1),
        lambda: encoding.text([b"x"], log=LOG, index=3, raw=11, size=1),
        lambda: encoding.salt(b"x"),
    ):
        with pytest.raises(NoIdentityError, match="encrypted"):
            read()
    blocks = dict(unixfs.build([b"x" * 70]))
    assert encoding.stored_bytes(list(blocks)[-1], blocks.__getitem__, 70) == 70


@pytest.mark.parametrize(
    ("name", "records", "size", "raw"), [(JSONL, 4, 9, 11), (JSONL, 0, 9, 1), (UNIXFS, 1, 9, 9), (UNIXFS, 0, 9, 8)]
)
def test_numbers_that_do_not_fit_are_refused(name: str, records: int, size: int, raw: int) -> None:
    """A record has at least three bytes, an archive has none."""
    with pytest.raises(FormatError):
        encoding_of(name).check(records, size, raw)


@pytest.mark.slow
def test_no_other_module_compares_the_names_of_encodings() -> None:
    """A new encoding is one entry in the table: nothing else asks which it is."""
    comparing = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare)
        and any(
            isinstance(part, ast.Name) and part.id in ("JSONL", "JSONL_AGE", "UNIXFS")
            for part in (node.left, *node.comparators)
        )
    ]
    assert [] == comparing
