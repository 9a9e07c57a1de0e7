"""Tiles of the logs of a home: what is written, what stays, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_log_handlers import VerificationError, open_home
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey
from tests.support import many_batches, sample_homes
from tests.support.cli import run


def export_to(home: Path, directory: Path):
    """Export the only log of a home."""
    (made,) = open_home(home).export_tiles(directory)
    return made


@pytest.mark.slow
def test_a_client_computes_the_signed_root_from_the_files(home, tmp_path):
    """Checkpoint, tiles and entries agree; the directory has the name of the log."""
    many_batches.seal_batches(home, 260)
    made = export_to(home, tmp_path / "tiles")
    directory = tmp_path / "tiles" / made.log
    assert (made.directory, made.batches, made.new_files) == (str(directory), 260, 6)
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()) == [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/4",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/4",
    ]
    key = VerifierKey.parse(sample_homes.key_of(home))
    claim = Checkpoint.open((directory / "checkpoint").read_bytes(), key)
    hashes = (directory / "tile/0/000").read_bytes() + (directory / "tile/0/001.p/4").read_bytes()
    leaves = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    assert (claim.size, claim.root) == (260, merkle.root(leaves))
    assert (directory / "tile/1/000.p/1").read_bytes() == merkle.root(leaves[:256])
    entries = (directory / "tile/entries/000").read_bytes()
    assert [merkle.leaf_hash(entries[at + 2 : at + 38]) for at in range(0, len(entries), 38)] == leaves[:256]


def test_only_what_is_new_is_written(home, tmp_path):
    """Files that are there stay as they are; a damaged one is written again."""
    sample_homes.make(home, 20)
    directory = Path(export_to(home, tmp_path).directory)
    assert export_to(home, tmp_path).new_files == 0
    (directory / "tile/0/000.p/2").write_bytes(b"damaged")
    assert export_to(home, tmp_path).new_files == 0
    assert len((directory / "tile/0/000.p/2").read_bytes()) == 64
    sample_homes.make(home, 10)
    assert export_to(home, tmp_path).new_files == 2


def test_another_history_and_a_newer_one_are_refused(home, tmp_path):
    """A directory never goes back, and never changes what a client has seen."""
    sample_homes.make(home, 20)
    file = Path(export_to(home, tmp_path).directory) / "checkpoint"
    note = file.read_text()
    for wrong in (note.replace("\n2\n", "\n3\n"), note.replace("\n2\n", "\n1\n")):
        file.write_text(wrong)
        with pytest.raises(VerificationError, match="another history"):
            export_to(home, tmp_path)
        assert run("export", "--tiles", tmp_path, home=home).code == 3
        assert file.read_text() == wrong
    file.write_text("no note")
    with pytest.raises(FormatError):
        export_to(home, tmp_path)


def test_the_checkpoint_comes_last(home, tmp_path, monkeypatch):
    """A crash before it leaves the log as it was before, with all of its tiles."""
    sample_homes.make(home, 20)
    file = Path(export_to(home, tmp_path).directory) / "checkpoint"
    before = file.read_bytes()
    sample_homes.make(home, 10)
    real, written = os.replace, []

    def failing(source, to):
        if Path(to).name == "checkpoint":
            raise OSError(28, "No space left on device")
        written.append(Path(to).name)
        real(source, to)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="No space"):
        export_to(home, tmp_path)
    assert written == ["3", "3"]
    assert file.read_bytes() == before


def test_the_command_line_writes_each_log(home, tmp_path):
    """There is a directory for each log; options that choose records are refused."""
    sample_homes.make(home, 20)
    sample_homes.make(home, 10, "wal")
    made = run("export", "--tiles", tmp_path / "t", home=home).objects
    assert [(log["subsystem"], log["batches"]) for log in made] == [("audit", 2), ("wal", 1)]
    assert run("export", "--tiles", tmp_path / "u", "wal", home=home).objects[0]["subsystem"] == "wal"
    assert run("export", "--tiles", tmp_path / "t", "--since", "1h", home=home).code == 2
