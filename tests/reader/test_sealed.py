"""How much of a sealed batch is verified, by the ways to verify."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import car, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, key_name_of
from ipfs_log_handlers.format.cid import DAG_PB
from ipfs_log_handlers.format.unixfs import CHUNK
from ipfs_log_handlers.home.logs import logs_of
from ipfs_log_handlers.reader.batch import BatchFile
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.sealed import open_sealed, open_text, open_text_elsewhere, open_text_in, verified_lines
from tests.support import sample_homes


def nothing_elsewhere(cid: Any) -> Any:
    """Fail: no block comes from elsewhere."""
    raise AssertionError(cid)


@pytest.fixture
def log(home: Any) -> Any:
    """Return a log with one batch of ten records."""
    sample_homes.make(home, 10)
    return logs_of(sample_homes.subsystem_dir(home))[-1]


def test_all_ways_to_verify_give_the_same_lines(log):
    """As one text, or line by line."""
    with open_sealed(log, 0) as (batch, manifest):
        lines = list(verified_lines(batch, manifest, nothing_elsewhere))
        for verify in ("off", "batch", "chain"):
            opened = open_text(log, 0, nothing_elsewhere, verify=verify)
            assert opened is not None
            assert opened.inflate() == b"".join(line + b"\n" for line in lines)
            assert list(verified_lines(batch, manifest, nothing_elsewhere, verify=verify)) == lines


def test_a_flipped_bit_of_the_payload_is_refused_by_its_hash(log):
    """`batch` hashes each block that it uses."""
    path = log.batches.file(0)
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError):
        open_text(log, 0, nothing_elsewhere, verify="batch")


def test_a_flipped_bit_of_the_manifest_is_refused_by_its_hash(log):
    """Before anything in it is believed."""
    path = log.batches.file(0)
    content = bytearray(path.read_bytes())
    content[content.index(b"encoding")] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError):
        open_text(log, 0, nothing_elsewhere, verify="batch")


@pytest.mark.parametrize("change", [{"payload": DAG_PB}, {"raw": 33 << 20}])
def test_a_payload_elsewhere_of_several_blocks_or_of_many_bytes_is_not_asked_for(log, change):
    """Its lines are read one by one when it is due."""
    with open_sealed(log, 0) as (_, manifest):
        if "payload" in change:
            change = {"payload": manifest.payload.as_codec(DAG_PB), "size": CHUNK + 1}
        assert open_text_elsewhere(replace(manifest, **change), nothing_elsewhere, verify="batch") is None


def replace_batch(log: Any, index: int, *, signed_by: Any = None) -> None:
    """Put another manifest, whose blocks are all right, into the file of a batch, with a head block that names it.

    Args:
        log: the log.
        index: number of the batch.
        signed_by: signs the head block; `None`: the head block keeps the checkpoint of the real batch.
    """
    with log.batches.streams(index) as streams:
        batch = BatchFile(*streams)
        head = batch.head()
        forged = replace(batch.manifest(), sealed=batch.manifest().sealed + 1)
        payload = batch.block(forged.payload)
    note = head.checkpoint
    if signed_by is not None:
        note = Checkpoint(forged.log, index + 1, merkle.edge_root(forged.edge_after())).signed(signed_by)
    head = replace(head, manifest=forged.cid, checkpoint=note)
    blocks = [(forged.cid, forged.encode()), (head.cid, head.encode()), (forged.payload, payload)]
    log.batches.file(index).write_bytes(car.encode([forged.cid, head.cid], blocks))


@pytest.mark.parametrize("verify", ["off", "batch"])
@pytest.mark.parametrize("is_signed", [False, True])
def test_with_keys_a_batch_in_the_place_of_another_is_a_gap(home, verify, is_signed):
    """Neither the signature of the real batch nor that of another key makes it right; without keys it is shown."""
    sample_homes.make(home, 30)
    key = open_home(home).public_key()
    assert key is not None
    log = logs_of(sample_homes.subsystem_dir(home))[-1]
    stranger = SecretKey(key_name_of(log.name), bytes(32)) if is_signed else None
    replace_batch(log, 1, signed_by=stranger)
    gaps: list[Any] = []
    with open_dataset(home, keys=[key.verifier], verify=verify, on_gap=gaps.append) as dataset:
        assert sorted(record["number"] for record in dataset) == [*range(10), *range(20, 30)]
        assert [(gap.kind, gap.index) for gap in gaps] == [("damaged", 1)]
        cursor = json.dumps([{"audit": str(Cursor(log=log.name))}])
        assert len(dataset.follow(cursor).poll()) == 20
    with open_dataset(home, keys=[key.verifier], verify=verify) as dataset, pytest.raises(VerificationError):
        list(dataset)
    with open_dataset(home, verify=verify) as dataset:
        assert len(list(dataset)) == 30


@pytest.mark.parametrize("change", [{"root": bytes(32)}, {"records": 9}])
def test_only_chain_compares_the_records_with_number_and_tree_of_the_manifest(log, change):
    """A signer alone can write a manifest whose payload is right, and whose tree is that of other records."""
    with open_sealed(log, 0) as (batch, manifest):
        other = replace(manifest, **change)
        lines = list(verified_lines(batch, other, nothing_elsewhere, verify="batch"))
        opened = open_text_in(batch, other, verify="batch")
        assert opened is not None
        assert opened.inflate().split(b"\n")[:-1] == lines
        with pytest.raises(VerificationError, match="manifest"):
            list(verified_lines(batch, other, nothing_elsewhere, verify="chain"))
        unequal = open_text_in(batch, other, verify="chain")
        assert unequal is not None
        with pytest.raises(VerificationError, match="manifest"):
            unequal.inflate()
