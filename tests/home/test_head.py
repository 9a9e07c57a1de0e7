from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import head
from ipfs_log_handlers.home.head import HeadState
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, with_junk
from tests.vectors.build_chain import heads

BLOCK = heads()[-1]
SEALED = HeadState(
    log=BLOCK.log,
    index=BLOCK.index,
    block=BLOCK.encode(),
    consumed={"00112233445566aa-3": 512},
    records=77,
    dropped={"ENOSPC": 3},
    quarantined=1,
    machine="m",
    inode=9,
)


def with_member(name: str, value: Any) -> bytes:
    """Return the file with another value and a correct checksum."""
    members = json.loads(line.decode(SEALED.encode()[:-1]).json)
    return line.record(json.dumps({**members, name: value}).encode())


class TestFile:
    def test_both_ways(self, tmp_path: Path) -> None:
        """What is stored is loaded again: head block, offsets and counts."""
        stored = head.store(tmp_path / "head", SEALED)
        assert stored == head.load(tmp_path / "head")
        assert [tmp_path / "head"] == list(tmp_path.iterdir())

    def test_missing(self, tmp_path: Path) -> None:
        """A log that has no batch has no head."""
        assert head.load(tmp_path / "head") is None

    def test_mutants(self) -> None:
        """Home rule 10: cut anywhere, with junk behind it or a bit flipped, it is unreadable, never another head."""
        data = SEALED.encode()
        assert_refused(HeadState.decode, cuts(data))
        assert_refused(HeadState.decode, with_junk(data))
        assert_refused(HeadState.decode, flips(data))

    def test_where(self, tmp_path: Path) -> None:
        """An unreadable head is told with its place."""
        (tmp_path / "head").write_bytes(b"x")
        with pytest.raises(FormatError, match=str(tmp_path / "head")):
            head.load(tmp_path / "head")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("v", 2),
            ("log", "ipfs-logs/0000000000000000/logs/00000000"),
            ("log", 5),
            ("index", BLOCK.index + 1),
            ("index", -1),
            ("cid", heads()[0].cid.text),
            ("block", ""),
            ("block", None),
            ("consumed", []),
            ("consumed", {"x": -1}),
            ("consumed", {"x": "1"}),
            ("dropped", {"x": True}),
            ("records", 1.5),
            ("quarantined", None),
            ("machine", None),
            ("more", 1),
        ],
    )
    def test_parts_agree(self, name: str, value: Any) -> None:
        """A head whose checksum holds, but whose parts disagree or are of another kind, is refused."""
        with pytest.raises(FormatError):
            HeadState.decode(with_member(name, value))

    def test_nested(self) -> None:
        """Nesting without end is a FormatError too."""
        assert_canonical(HeadState.decode, HeadState.encode, [line.record(b'{"a":' + b"[" * 100_000 + b"}")])

    def test_new_content_or_old(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 7: a head that could not be synced is not put in place; the one before stays."""
        stored = head.store(tmp_path / "head", SEALED)
        monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(5, "io")))
        with pytest.raises(OSError, match="io"):
            head.store(tmp_path / "head", replace(SEALED, records=78))
        assert stored == head.load(tmp_path / "head")
