"""No changed bit or byte of a stored artefact is accepted by who has the verifier key and the newest head of a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest

from ipfs_log_handlers.errors import FormatError, LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.reader.chain_check import differences
from ipfs_log_handlers.reader.sealed import check_head
from tests.support import chains
from tests.support.mutations import byte_changes, flips
from tests.vectors.build_chain import KEY, heads, manifests, payload_of

pytestmark = pytest.mark.slow

Check = Callable[[bytes], object]

MANIFESTS = manifests()
HEADS = heads()
SMALL = chains.build(8)
FLIPS = 200_000
"""Flipped bits: of the blocks of the golden log, and of a chain of eight batches."""
BYTES = 40_000
"""Bytes left out, doubled, swapped or put in."""


def blocks() -> Iterator[tuple[Cid, bytes]]:
    """Yield every block of two logs that is found by its CID: manifests, head blocks, payloads."""
    for manifest, head in zip(MANIFESTS, HEADS, strict=True):
        yield manifest.cid, manifest.encode()
        yield head.cid, head.encode()
        if manifest.records:
            yield manifest.payload, payload_of(manifest.index)
    for manifest, head in zip(SMALL.manifests, SMALL.heads, strict=True):
        yield manifest.cid, manifest.encode()
        yield head.cid, head.encode()


def accepted(check: Check, mutants: Iterable[bytes]) -> tuple[int, list[bytes]]:
    """Return the number of mutants, and those that are accepted."""
    tried, wrong = 0, []
    for mutant in mutants:
        tried += 1
        try:
            check(mutant)
        except LogStoreError:
            continue
        wrong.append(mutant)
    return tried, wrong


def test_no_changed_block_is_what_its_cid_names() -> None:
    """Every bit flipped, and every byte left out, doubled, swapped or put in, of every block of a log."""
    bits = changes = 0
    for cid, block in blocks():
        cid.verify(block)
        for kind in (flips, byte_changes):
            tried, wrong = accepted(cid.verify, kind(block))
            assert wrong == []
            bits += tried if kind is flips else 0
            changes += tried if kind is byte_changes else 0
    assert bits >= FLIPS, bits
    assert changes >= BYTES, changes


def test_no_changed_checkpoint_is_signed() -> None:
    """Each bit and each byte of the signed notes of a log."""
    tried = 0
    for head in HEADS[::4]:
        for kind in (flips, byte_changes):
            count, wrong = accepted(lambda note: Checkpoint.open(note, KEY.verifier), kind(head.checkpoint))
            assert wrong == []
            tried += count
    assert tried > 5 * 1700


def test_no_changed_key_reads_as_a_key() -> None:
    """The ID of a verifier key is that of its name and its bytes: no other text is a key, or opens a note."""

    def check(text: bytes) -> None:
        try:
            key = VerifierKey.parse(text.decode())
        except UnicodeDecodeError as error:
            raise FormatError("not text") from error
        HEADS[-1].verify(key)

    text = KEY.verifier.text.encode()
    check(text)
    for kind in (flips, byte_changes):
        tried, wrong = accepted(check, kind(text))
        assert wrong == []
        assert tried >= 3 * len(text)


@pytest.mark.parametrize("kind", [flips, byte_changes], ids=["bits", "bytes"])
def test_a_chain_with_a_changed_manifest_is_refused_without_its_cid(kind: Callable[[bytes], Iterator[bytes]]) -> None:
    """Where each block has the hash by which it was asked for, the signed tree still excludes the change."""
    links, head = SMALL.links, SMALL.heads[-1]
    for index in (0, 3, 4):

        def check(block: bytes, index: int = index) -> None:
            changed = Manifest.decode(block)
            place = chains.Link(index, changed, changed.cid)
            shown = [place if link.index == index else link for link in links]
            if any(differences(shown, head, whole=True)):
                raise VerificationError("not the chain that was signed")

        check(SMALL.manifests[index].encode())
        tried, wrong = accepted(check, kind(SMALL.manifests[index].encode()))
        assert wrong == []
        assert tried > 3 * len(SMALL.manifests[index].encode())


@pytest.mark.parametrize("kind", [flips, byte_changes], ids=["bits", "bytes"])
def test_a_chain_with_a_changed_head_is_refused_without_its_cid(kind: Callable[[bytes], Iterator[bytes]]) -> None:
    """Key, name, number, link, root and signature: each is bound to the others."""
    head = SMALL.heads[-1]

    def check(block: bytes) -> None:
        changed = Head.decode(block)
        check_head(changed, [chains.KEY.verifier])
        if any(differences(SMALL.links, changed, whole=True)):
            raise VerificationError("not the head of this chain")

    check(replace(head).encode())
    tried, wrong = accepted(check, kind(head.encode()))
    assert wrong == []
    assert tried > 3 * len(head.encode())
