"""The accelerator reads regular files below a home without following a link; anything else is left to Python."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ipfs_log_handlers.accelerator.state import ACCELERATOR

CONTENT = bytes(range(256)) * 300


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a directory with one file two levels below it."""
    home = tmp_path / "home"
    (home / "a" / "b").mkdir(parents=True)
    (home / "a" / "b" / "file").write_bytes(CONTENT)
    return home


@pytest.mark.parametrize(
    ("offset", "size"), [(0, 1 << 20), (0, 0), (5, 10), (70_000, 1 << 20), (len(CONTENT), 5), (1 << 40, 5)]
)
def test_a_part_of_a_file_is_read(root: Path, offset: int, size: int) -> None:
    """At most `size` bytes from an offset on; none after the end."""
    assert ACCELERATOR.read_below(str(root), ["a", "b", "file"], offset, size) == CONTENT[offset : offset + size]


@pytest.mark.parametrize("names", [["no"], ["a", "no", "file"], ["a", "b", "no"]])
def test_a_missing_file_is_reported_as_false(root: Path, names: list[str]) -> None:
    """Python need not look for it again."""
    assert ACCELERATOR.read_below(str(root), names, 0, 10) is False


def test_links_and_other_kinds_of_files_are_left_to_python(root: Path) -> None:
    """A link to a file or on the way to it, a directory, a pipe and a socket are not read."""
    above = root / "a"
    (above / "link").symlink_to(above / "b" / "file")
    (above / "way").symlink_to(above / "b")
    os.mkfifo(above / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(above / "s"))
    for names in (["a", "link"], ["a", "way", "file"], ["a", "b"], ["a", "pipe"], ["a", "s"], ["a", "b", "file", "x"]):
        assert ACCELERATOR.read_below(str(root), names, 0, 10) is None, names


def test_no_descriptor_is_left_open(root: Path) -> None:
    """After files, missing files and links."""
    (root / "a" / "link").symlink_to(root / "a" / "b" / "file")
    before = os.listdir("/proc/self/fd")
    for names in (["a", "b", "file"], ["no"], ["a", "no", "file"], ["a", "link"], ["a", "b"], ["a", "link", "x"]):
        ACCELERATOR.read_below(str(root), names, 0, 10)
    assert os.listdir("/proc/self/fd") == before


def test_a_name_that_is_no_utf_8_is_read(root: Path) -> None:
    """Python passes such bytes as lone surrogates."""
    name = os.fsdecode(b"\xff\xfe")
    (root / name).write_bytes(b"x")
    assert ACCELERATOR.read_below(str(root), [name], 0, 10) == b"x"


def test_names_and_places_that_no_file_has_are_left_to_python(root: Path) -> None:
    """A NUL in a name, too many names or none, and negative numbers."""
    for names in (["a\0b"], [], ["a"] * 17, [5]):
        assert ACCELERATOR.read_below(str(root), names, 0, 10) is None, names
    for offset, size in ((-1, 10), (0, -1)):
        assert ACCELERATOR.read_below(str(root), ["a", "b", "file"], offset, size) is None


def test_arguments_of_other_types_are_refused(root: Path) -> None:
    """The root is a text, the names are a list, offset and size are numbers."""
    refused: list[tuple[object, ...]] = [(5, [], 0, 1), (str(root), ("a",), 0, 1), (str(root), ["a"], "0", 1), ()]
    for arguments in refused:
        with pytest.raises(TypeError):
            ACCELERATOR.read_below(*arguments)
