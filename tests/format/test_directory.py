"""Directories: what Kubo makes of them, read back strictly, and nothing hostile gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import directory, varint
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.directory import Directory, Link, Symlink
from tests.support import file_trees

RAW_CID = Cid.of(RAW, b"x")
EMPTY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
"""What every IPFS node calls the empty directory."""


def link(name: str = "n", cid: Cid = RAW_CID, tsize: int = 1) -> Link:
    """Return a link to a file of one byte."""
    return Link(name, cid, tsize)


def raw_link(name: bytes) -> bytes:
    """Return the bytes of a link with any name."""
    body = b"\x0a\x24" + RAW_CID + b"\x12" + varint.encode(len(name)) + name + b"\x18\x01"
    return b"\x12" + varint.encode(len(body)) + body


def test_empty_directory_has_its_known_name():
    """The empty directory has the CID under which every node knows it."""
    root, blocks = file_trees.blocks({})

    assert EMPTY == root.text
    assert [b"\x0a\x02\x08\x01"] == list(blocks.values())


@pytest.mark.kubo
@pytest.mark.parametrize(
    "tree",
    [{}, {"one": b"1"}, file_trees.NESTED, {f"{n:04}-{'n' * 24}": b"%d" % n for n in range(3300)}],
    ids=["empty", "one", "nested", "as many as a block holds"],
)
def test_same_cid_as_kubo(kubo, tmp_path, tree):
    """A directory's CID is the one that `ipfs add -r` prints, whatever lies in it."""
    path = file_trees.on_disk(tmp_path / "tree", tree)
    said = kubo.cli("add", "-r", "-Q", "-n", "-H", "--cid-version", "1", str(path))

    assert said == file_trees.blocks(tree)[0].text


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=9).filter(lambda n: n not in {".", ".."} and not set(n) & {"/", "\0"}),
        st.binary(max_size=9),
        max_size=9,
    )
)
def test_both_ways(tree):
    """What is written is read back, names in the order of their bytes; every cut of it is refused."""
    root, blocks = file_trees.blocks(tree)
    found = directory.decode(blocks[root])

    assert isinstance(found, Directory)
    assert sorted(name.encode() for name in tree) == [each.name.encode() for each in found.links]
    assert blocks[root] == found.encode()
    for end in range(len(blocks[root])):
        with pytest.raises(FormatError):
            directory.decode(blocks[root][:end])


@pytest.mark.parametrize("target", ["a", "../b", "x\n\x02\x08\x01", "ü" * 100])
def test_symlink_both_ways(target):
    """A symbolic link is read back, also one that ends as the block of a directory does."""
    block = Symlink(target).encode()

    assert Symlink(target) == directory.decode(block)
    with pytest.raises(FormatError):
        directory.decode(block + b"\0")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "nul\0", "\ud800"])
def test_name_that_is_no_name(name):
    """What would lead elsewhere, or is no UTF-8, is no name in a directory."""
    with pytest.raises(FormatError):
        Directory((link(name),))


@pytest.mark.parametrize(
    "block",
    [
        raw_link(b"b") + raw_link(b"a") + b"\x0a\x02\x08\x01",
        raw_link(b"a") + raw_link(b"a") + b"\x0a\x02\x08\x01",
        raw_link(b"..") + b"\x0a\x02\x08\x01",
        raw_link(b"a/b") + b"\x0a\x02\x08\x01",
        raw_link(b"\xff") + b"\x0a\x02\x08\x01",
        b"\x0a\x02\x08\x01" + raw_link(b"a"),
        raw_link(b"a") + b"\x0a\x02\x08\x05",
        raw_link(b"a") + b"\x0a\x04\x08\x01\x18\x01",
        b"\x0a\x04\x08\x04\x12\x00",
        b"",
    ],
    ids=["order", "twice", "dots", "slash", "not text", "links behind", "hamt", "more", "no target", "nothing"],
)
def test_block_that_is_no_directory_of_ours(block):
    """Another order, a name twice, a name that leads elsewhere, a HAMT: refused with a FormatError."""
    with pytest.raises(FormatError):
        directory.decode(block)


def test_too_many_names_say_what_to_do():
    """A directory that Kubo would split is refused, with what to do about it."""
    with pytest.raises(FormatError, match="Archive its parts"):
        Directory.of([link(f"{number:05}-{'x' * 40}") for number in range(4000)]).encode()


def test_link_to_another_kind_of_block():
    """Only files and directories have a name in a directory."""
    with pytest.raises(FormatError):
        link(cid=Cid.of(DAG_CBOR, b"\xa0"))


class TestWalk:
    """A tree is walked block by block, and nothing in it is believed."""

    def test_gives_back_what_was_put_in(self):
        """Every path, its kind and its bytes come back, directories before what is in them."""
        root, blocks = file_trees.blocks(file_trees.NESTED)
        found = {entry.path: entry for entry in directory.walk(root, blocks.__getitem__)}

        assert "directory" == found[()].kind
        assert ("a", "b", "c", "deep.log") in found
        assert "../nowhere/at/all" == found["dangling",].target
        large = found["large.log",].read(blocks.__getitem__, max_bytes=2 << 20)
        assert file_trees.NESTED["large.log"] == b"".join(large)
        assert directory.bytes_in(root, blocks.__getitem__, max_bytes=2 << 20) == sum(
            len(what) for what in (*file_trees.NESTED.values(), b"deep\n" * 100) if isinstance(what, bytes)
        )

    def test_single_file(self):
        """A file is a tree of one entry, without a name."""
        root, blocks = file_trees.blocks({"f": b"abc"})
        [leaf] = [each for each in blocks if each != root]

        assert [((), "file")] == [(entry.path, entry.kind) for entry in directory.walk(leaf, blocks.__getitem__)]

    def test_bytes_are_bounded(self):
        """Files that have more bytes than was said are not read to their end."""
        root, blocks = file_trees.blocks({"a": b"123", "b": b"456"})

        with pytest.raises(VerificationError, match="too big"):
            directory.bytes_in(root, blocks.__getitem__, max_bytes=5)

    @pytest.mark.parametrize("tsize", [0, 2, 99])
    def test_sizes_are_measured(self, tsize):
        """A size that is not that of the blocks below is found, for files and for directories."""
        lying = Directory((link("n", RAW_CID, tsize),)).encode()
        outer = Directory((Link("d", Cid.of(DAG_PB, lying), 7),)).encode()
        blocks = {RAW_CID: b"x", Cid.of(DAG_PB, lying): lying, Cid.of(DAG_PB, outer): outer}

        for block in (lying, outer):
            with pytest.raises(VerificationError, match="size"):
                directory.bytes_in(Cid.of(DAG_PB, block), blocks.__getitem__, max_bytes=100)

    def test_damaged_block(self):
        """A block that is not what its CID names is not looked into."""
        root, blocks = file_trees.blocks({"a": {"b": b"1"}})

        with pytest.raises(VerificationError, match="hash"):
            list(directory.walk(root, lambda cid: blocks[cid] + b" "))

    def test_depth_is_bounded(self):
        """Directories nested without end are given up at a stated depth."""
        tree: dict[str, object] = {}
        for _ in range(directory.MAX_DEPTH + 1):
            tree = {"d": tree}
        root, blocks = file_trees.blocks(tree)

        with pytest.raises(VerificationError, match="too deep"):
            list(directory.walk(root, blocks.__getitem__))

    def test_names_are_bounded(self, monkeypatch):
        """A few blocks that name each other over and over do not keep a reader busy for ever."""
        monkeypatch.setattr(directory, "MAX_ENTRIES", 1000)
        root, blocks = _doubling(20)

        with pytest.raises(VerificationError, match="too many names"):
            list(directory.walk(root, blocks.__getitem__))


def _doubling(levels: int) -> tuple[Cid, dict[Cid, bytes]]:
    """Directories of two names for the same directory: 2**levels paths in a few blocks."""
    block, tsize, blocks = b"\x0a\x02\x08\x01", 4, dict[Cid, bytes]()
    for _ in range(levels):
        cid = Cid.of(DAG_PB, block)
        blocks[cid] = block
        made = Directory((Link("one", cid, tsize), Link("two", cid, tsize)))
        block, tsize = made.encode(), made.tsize
    root = Cid.of(DAG_PB, block)
    return root, {**blocks, root: block}
