"""Go's `sumdb/note` and `sumdb/tlog` accept our notes, proofs and tiles, and refuse changed ones."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.format.tiles import tile_files
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of
from tests.support import sample_homes
from tests.support.many_batches import seal_batches
from tests.vectors import FOLDER
from tests.vectors.build_chain import KEY, LOG, claims

pytestmark = pytest.mark.slow  # the Go programs are built at first
SIZES = 300
"""All proofs of all trees up to this size are checked."""


def said(program: Path, *arguments: object, given: bytes = b"") -> str:
    """Run the Go program, which must accept what it is given; return what it prints."""
    done = subprocess.run([program, *map(str, arguments)], input=given, capture_output=True)
    assert (0, b"") == (done.returncode, done.stderr)
    return done.stdout.decode()


def refusal(program: Path, *arguments: object, given: bytes = b"") -> str:
    """Run the Go program, which must refuse what it is given; return the reason."""
    done = subprocess.run([program, *map(str, arguments)], input=given, capture_output=True)
    assert (1, b"") == (done.returncode, done.stdout)
    return done.stderr.decode()


def leaves(count: int) -> list[Cid]:
    """Make CIDs that are the leaves of a tree."""
    return [Cid.of(DAG_CBOR, b"%d" % number) for number in range(count)]


def proofs(leaves: list[Cid]) -> Iterator[str]:
    """Yield a line for each inclusion and consistency proof of all trees over these leaves, made from edges alone."""
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    edges: list[merkle.Edge] = [()]
    for size, leaf in enumerate(hashes):
        edges.append(merkle.edge_append(edges[-1], size, leaf))

    def read(index: int) -> tuple[merkle.Edge, bytes]:
        return edges[index], hashes[index]

    for size in range(1, len(leaves) + 1):
        for number in range(size):
            yield _line("i", size, number, merkle.inclusion_from_edges(number, size, read))
            yield _line("c", size, number + 1, merkle.consistency_from_edges(number + 1, size, read))


def _line(kind: str, size: int, number: int, hashes: tuple[bytes, ...]) -> str:
    return f"{kind} {size} {number} {b64encode(b''.join(hashes)).decode()}"


def test_the_frozen_chain(tlog: Path) -> None:
    """The checkpoints and proofs in `tests/vectors/chain.json` hold."""
    assert "17 leaves, 17 checkpoints, 153 inclusion proofs, 153 consistency proofs: all hold\n" == said(
        tlog, "verify", FOLDER / "chain.json"
    )


def test_the_frozen_vectors_of_go(tlog: Path) -> None:
    """The program still makes the vectors that our code is tested with."""
    assert (FOLDER / "tlog.json").read_text(encoding="utf-8") == said(tlog, "vectors")


def test_all_proofs_of_all_trees(tlog: Path) -> None:
    """Each inclusion and consistency proof of each tree of up to 300 leaves holds."""
    chain = leaves(SIZES)
    lines = [*(leaf.hex() for leaf in chain), "", *proofs(chain), ""]
    every = SIZES * (SIZES + 1) // 2
    assert 45_150 == every
    assert f"{SIZES} leaves, {every} inclusion proofs, {every} consistency proofs: all hold\n" == said(
        tlog, "proofs", given="\n".join(lines).encode()
    )


@pytest.mark.parametrize("kind", ["i", "c"])
def test_a_changed_proof(tlog: Path, kind: str) -> None:
    """Of each proof of a tree of eleven leaves, one changed bit is refused."""
    chain = leaves(11)
    head = "\n".join([*(leaf.hex() for leaf in chain), "", ""])
    lines = [line for line in proofs(chain) if line.startswith(f"{kind} 11 ") and not line.endswith(" ")]
    assert 10 <= len(lines)
    for line in lines:
        before, _, hashes = line.rpartition(" ")
        changed = "B" if hashes[0] == "A" else "A"
        assert "hold" not in refusal(tlog, "proofs", given=f"{head}{before} {changed}{hashes[1:]}\n".encode())


def test_every_checkpoint_of_a_home(tlog: Path, home: Path, tmp_path: Path) -> None:
    """Each checkpoint that a keeper signed is one of the tree over the manifests, with all proofs in it."""
    count = 20
    seal_batches(home, count)
    (log,) = logs_of(HomeDir(home).subsystem_dir("logs"))
    cids: list[bytes] = [log.batches.facts(index).cid for index in range(count)]
    notes = [log.batches.facts(index).head.checkpoint.decode() for index in range(count)]
    chain: dict[str, Any] = {
        **claims(cids),
        "verifier": sample_homes.key_of(home),
        "log": log.name,
        "checkpoints": notes,
    }
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(chain))
    assert said(tlog, "verify", file).startswith(f"{count} leaves, {count} checkpoints, ")

    chain["checkpoints"] = [notes[7].replace(f"\n{8}\n", f"\n{9}\n")]
    file.write_text(json.dumps(chain))
    assert "invalid signature" in refusal(tlog, "verify", file)
    chain["checkpoints"], chain["leaves"][3] = notes, chain["leaves"][4]
    file.write_text(json.dumps(chain))
    assert "not a checkpoint" in refusal(tlog, "verify", file)


def test_a_key_change(tlog: Path, home: Path) -> None:
    """The note of a key change is opened with the key before it, and with the key after it."""
    sample_homes.make(home, 10)
    old = sample_homes.key_of(home)
    open_home(home).rotate_key()
    new = sample_homes.key_of(home)
    (file,) = home.rglob("key-changes")
    text = said(tlog, "note", old, new, given=file.read_bytes())
    assert f"\nkey-change {old} {new} " in text
    assert "invalid signature" in refusal(tlog, "note", old, new, given=file.read_bytes().replace(b"\n1\n", b"\n2\n"))


def test_a_home_head(tlog: Path) -> None:
    """The note of a home head is opened with the key of the home."""
    key = SecretKey.generate(bytes(32))
    log = log_name(key.name, "audit", "01234567")
    head = HomeHead.sign(key, counter=5, time=1_767_225_600_000_000, logs=[LogHead(log, 3, Cid.of(DAG_CBOR, b"head"))])
    assert said(tlog, "note", key.verifier.text, given=head.note).startswith(f"ipfs-logs home head v1\n{key.name}\n5\n")


def test_the_proof_in_a_bundle(tlog: Path, home: Path) -> None:
    """The tlog-proof in each bundle of a home holds, for its own manifest and for no other."""
    sample_homes.make(home, 70)
    key, batches = sample_homes.key_of(home), list(open_home(home).batches())
    for batch in batches:
        bundle = Bundle.decode(open_home(home).prove(batch.cid, 3))
        said_of_it = said(tlog, "proof", key, bundle.manifest.cid.hex(), given=bundle.proof.encode())
        assert f"{batch.log}: leaf {batch.index} of 7\n" == said_of_it
    other = Cid.parse(batches[0].cid)
    assert "invalid" in refusal(tlog, "proof", key, other.hex(), given=bundle.proof.encode())


def test_exported_tiles(tlog: Path, home: Path, tmp_path: Path) -> None:
    """Every leaf, and every shorter tree, is in the signed tree by the files that `export --tiles` wrote."""
    seal_batches(home, 9)
    (made,) = open_home(home).export_tiles(tmp_path)
    assert f"{made.log}: 9 leaves, all in the signed tree\n" == said(
        tlog, "tiles", sample_homes.key_of(home), made.directory
    )


def test_tiles_of_several_levels(tlog: Path, tmp_path: Path) -> None:
    """The same for a tree of 700 leaves, with full and partial tiles; a changed tile of each kind is found."""
    chain = leaves(700)
    root = merkle.root([merkle.leaf_hash(leaf) for leaf in chain])
    files = {**dict(tile_files(chain)), "checkpoint": Checkpoint(LOG, 700, root).signed(KEY)}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    key = KEY.verifier.text
    assert f"{LOG}: 700 leaves, all in the signed tree\n" == said(tlog, "tiles", key, tmp_path)

    for name in ("tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/188"):
        (tmp_path / name).write_bytes(files[name][:-1] + bytes([files[name][-1] ^ 1]))
        refusal(tlog, "tiles", key, tmp_path)
        (tmp_path / name).write_bytes(files[name])
