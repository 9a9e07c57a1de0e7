"""Bundles from homes that programs logged to, from CAR files and from afar: each proves its record, and only that."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import RecordError, StoreUnavailable, VerificationError, check, open_dataset, open_home
from ipfs_log_handlers.api import ProvenRecord, prove_from_head
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.reader.sealed_log import SealedLog, by_jumps
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.verify.prove import prove_record
from tests.support import gateways, sample_homes
from tests.support.logging_home import logging_to, seal_home
from tests.support.many_batches import seal_batches
from tests.support.odd_values import ODD_NAMES, odd_value
from tests.vectors.build_chain import LOG


def key_of(home: Path) -> str:
    """Return the verifier key of a home."""
    key = open_home(home).public_key()
    assert key is not None
    return key.verifier


def head_of(home: Path) -> str:
    """Return the CID of the newest head block."""
    (status,) = open_home(home).status()
    assert status.head is not None
    return status.head


def proven_from(source: Any, key: str, **how: Any) -> list[ProvenRecord]:
    """Prove and check every record of a source."""
    with open_dataset(source, **how) as dataset:
        proven = [check(dataset.prove(record), key) for record in dataset]
        assert [one.record for one in proven] == list(dataset)
    return proven


class TestHome:
    def test_every_record(self, home: Path) -> None:
        """First and last record of each batch and all between, in batches of ten, three, and one."""
        for records, count in ((10, 20), (3, 7), (1, 2)):
            sample_homes.log(home, range(count), records=records)
            sample_homes.seal(home)
        key = key_of(home)

        proven = proven_from(home, key)

        assert len(proven) == 29
        assert {one.tree_size for one in proven} == {len(list(open_home(home).batches()))}
        assert {(one.records == 1, one.number) for one in proven} >= {(True, 0), (False, 0), (False, 9)}
        assert {one.cid for one in proven} == {batch.cid for batch in open_home(home).batches()}

    def test_odd_records(self, home: Path) -> None:
        """Whatever value a program logs, its record is proved as it was stored."""
        with logging_to(home, "audit") as logger:
            for name in ODD_NAMES:
                logger.info("odd", extra={"value": odd_value(name)})
            logger.info("a\nb\x00\x1b[31m\u2028\u202e😀")
            logger.info("long" * 100_000)
        seal_home(home)
        key = key_of(home)

        assert len(proven_from(home, key)) == len(ODD_NAMES) + 2

    @pytest.mark.slow
    def test_the_numbers_of_a_record(self, home: Path) -> None:
        """The same bundle comes from the record, its match, its number and its sequence number."""
        sample_homes.make(home, 30)
        opened = open_home(home)
        with opened.dataset() as dataset:
            for match in dataset.matches():
                cid = list(opened.batches())[match.batch].cid
                bundle = dataset.prove(match.record)
                assert bundle == dataset.prove(match)
                assert bundle == opened.prove(cid, match.number) == opened.prove(f"/ipfs/{cid}", match.number)
                assert bundle == opened.prove_seq("audit", match.record["seq"])
                assert bundle == opened.prove_seq("audit", match.record["seq"], pid=match.record["pid"])

    def test_the_bundle_has_no_other_record(self, home: Path) -> None:
        """No value of another record is in it."""
        with logging_to(home, "logs") as logger:
            for number in range(40):
                logger.info(sha256(b"%d" % number).hexdigest())
        seal_home(home)
        with open_dataset(home) as dataset:
            records = list(dataset)
            bundle = dataset.prove(records[17])
        assert [17] == [number for number, record in enumerate(records) if record["event"].encode() in bundle]

    def test_payload_that_left(self, home: Path) -> None:
        """A payload that has left the home comes from a store; without one, the error says so."""
        with FakeKubo() as kubo:
            sample_homes.log(home, range(10))
            sample_homes.ship(home, kubo.url)
            sample_homes.strip(home, 0)
            (batch,) = open_home(home).batches()
            with pytest.raises(StoreUnavailable):
                open_home(home).prove(batch.cid, 3)
            proven = check(open_home(home).prove(batch.cid, 3, stores=[kubo.url]), key_of(home))
        assert proven.record["number"] == 3

    def test_two_logs(self, home: Path) -> None:
        """A record of a former log is proved up to the last head of that log."""
        sample_homes.make(home, 20)
        sample_homes.end(home)
        sample_homes.log(home, range(20, 25))
        sample_homes.seal(home)
        proven = proven_from(home, key_of(home))
        assert [2] * 20 + [1] * 5 == [one.tree_size for one in proven]
        assert len({one.log for one in proven}) == 2

    def test_a_missing_batch_after_it(self, home: Path) -> None:
        """Where a manifest between is lost, the head that was signed with the batch is enough."""
        sample_homes.make(home, 40)
        cids = [batch.cid for batch in open_home(home).batches()]
        for index in (1, 3):
            Batches(sample_homes.subsystem_dir(home).current.batches).file(index).unlink()
        proven = check(open_home(home).prove(cids[0], 5), key_of(home))
        assert (proven.index, proven.number, proven.tree_size) == (0, 5, 1)

    def test_damage(self, home: Path) -> None:
        """Of a damaged batch no bundle is made."""
        sample_homes.make(home, 20)
        cids = [batch.cid for batch in open_home(home).batches()]
        sample_homes.damage(home, 1)
        with pytest.raises((VerificationError, FormatError)):
            open_home(home).prove(cids[1], 0)
        assert check(open_home(home).prove(cids[0], 0), key_of(home)).index == 0

    def test_archive(self, home: Path) -> None:
        """An archive has no records, and the error says what its proof is."""
        version = open_home(home, must_exist=False).archive(__file__)
        with pytest.raises(RecordError, match="an archived file or directory and has no records") as caught:
            open_home(home).prove(str(version.manifest), 0)
        assert caught.value.kind == "missing"

    def test_keys(self, home: Path, tmp_path: Path) -> None:
        """With keys, one of them must have signed."""
        sample_homes.make(home, 10)
        sample_homes.make(tmp_path / "other", 10)
        (batch,) = open_home(home).batches()
        assert check(open_home(home).prove(batch.cid, 0, keys=[key_of(home)]), key_of(home)).number == 0
        with pytest.raises(VerificationError, match="no trusted key has signed"):
            open_home(home).prove(batch.cid, 0, keys=[key_of(tmp_path / "other")])

    @pytest.mark.parametrize("number", [-1, 10, 2**70])
    def test_no_such_record(self, home: Path, number: int) -> None:
        """A number that the batch does not have is said so."""
        sample_homes.make(home, 10)
        (batch,) = open_home(home).batches()
        with pytest.raises(RecordError, match="no record of this number; expected 0 to 9"):
            open_home(home).prove(batch.cid, number)

    def test_no_such_batch(self, home: Path) -> None:
        """A CID of no batch, and a text that is no CID, are told apart."""
        sample_homes.make(home, 10)
        with pytest.raises(RecordError, match="no batch has this CID"):
            open_home(home).prove(Cid.of(RAW, b"").text, 0)
        with pytest.raises(FormatError):
            open_home(home).prove("not a CID", 0)


class TestElsewhere:
    def test_car_files(self, home: Path) -> None:
        """CAR files of a whole log prove every record up to the newest head in them."""
        sample_homes.make(home, 35)
        proven = proven_from(sample_homes.subsystem_dir(home).current.batches, key_of(home))
        assert ([4] * 35, 35) == ([one.tree_size for one in proven], len(proven))

    def test_one_car_file(self, home: Path) -> None:
        """One file of a home proves its records with its own head."""
        sample_homes.make(home, 30)
        proven = proven_from(Batches(sample_homes.subsystem_dir(home).current.batches).file(1), key_of(home))
        assert [2] * 10 == [one.tree_size for one in proven]

    def test_gateway(self, home: Path) -> None:
        """A head CID behind a gateway proves all records, with and without a walk along the log."""
        sample_homes.make(home, 50)
        key, head = key_of(home), head_of(home)
        cids = [batch.cid for batch in open_home(home).batches()]
        with gateways.gateway(gateways.blocks_of(home)) as served:
            assert [5] * 50 == [one.tree_size for one in proven_from(head, key, gateway=served.url, keys=[key])]
            for index, cid in enumerate(cids):
                bundle = prove_from_head(head, cid, 4, gateway=served.url, keys=[key])
                assert bundle == open_home(home).prove(cid, 4)
                assert check(bundle, key).index == index
            with pytest.raises(VerificationError, match="no trusted key"):
                prove_from_head(head, cids[0], 4, gateway=served.url, keys=[other_key()])
            with pytest.raises(VerificationError, match="no signed head"):
                prove_from_head(cids[-1], cids[0], 4, gateway=served.url)

    @pytest.mark.slow
    def test_few_blocks_are_asked_for(self, home: Path) -> None:
        """A proof from a head asks for a few manifests of many, and one payload."""
        seal_batches(home, 100)
        cids = [batch.cid for batch in open_home(home).batches()]
        with gateways.gateway(gateways.blocks_of(home)) as served:
            for index in (0, 50, 99):
                served.asked.clear()
                assert (
                    check(prove_from_head(head_of(home), cids[index], 0, gateway=served.url), key_of(home)).index
                    == index
                )
                assert len(served.asked) <= 40

    def test_the_batch_of_another_log(self, home: Path, tmp_path: Path) -> None:
        """A batch that the head does not lead to is refused."""
        sample_homes.make(home, 20)
        sample_homes.make(tmp_path / "other", 20)
        (cid, _) = (batch.cid for batch in open_home(tmp_path / "other").batches())
        blocks = gateways.blocks_of(home) | gateways.blocks_of(tmp_path / "other")
        with gateways.gateway(blocks) as served, pytest.raises(VerificationError):
            prove_from_head(head_of(home), cid, 0, gateway=served.url)

    def test_a_manifest_is_needed(self, home: Path, tmp_path: Path) -> None:
        """A source that is no log from afar is refused in words."""
        sample_homes.make(home, 20)
        with pytest.raises(ConfigurationError, match="not the CID of a head block"):
            prove_from_head(str(home), Cid.of(DAG_CBOR, b"").text, 0)


def other_key() -> str:
    """Return a key that has signed nothing."""
    from tests.vectors.build_chain import KEY

    return KEY.verifier.text


def place(index: int) -> Cid:
    """Return the CID that stands for manifest `index` of a log that is not written out."""
    return Cid.of(DAG_CBOR, b"%d" % index)


def manifest(index: int) -> Manifest:
    """Make manifest `index` of that log: its own place, its back pointers, and an edge of the right size."""
    jump = jump_index(index)
    return Manifest(
        log=LOG, index=index, prev=place(index - 1) if index else None, jump=None if jump is None else place(jump),
        edge=bytes(32 * index.bit_count()), sealed=1, first=1, last=1, records=0, dropped={}, payload=Cid.of(RAW, b"x"),
        size=1, raw=0, encoding="jsonl+zstd", root=merkle.EMPTY_ROOT, meta={}, stats={}, sources=(), evidence=(),
    )  # fmt: skip


class TestReads:
    """How much is read of a log of a million batches, whose manifests are made when they are asked for."""

    SIZE = 1_000_000

    def test_inclusion(self) -> None:
        """An inclusion proof needs one manifest for each hash on its right: half of 20, and 20 for the first batch."""
        draw = random.Random(1)
        assert [20, 20] == [self.reads(0), self.reads(1)]
        sample = [self.reads(draw.randrange(self.SIZE)) for _ in range(2000)]
        assert max(sample) <= 20
        assert sorted(sample)[1980] <= 17  # of a hundred batches, for all but one
        assert 9 <= sum(sample) / len(sample) <= 12

    def reads(self, index: int) -> int:
        """Count the manifests that are read for the inclusion proof of a batch, its own among them."""
        asked: list[int] = []

        def read(number: int) -> tuple[merkle.Edge, bytes]:
            asked.append(number)
            return (bytes(32),) * number.bit_count(), bytes(32)

        merkle.inclusion_from_edges(index, self.SIZE, read)
        return len(asked)

    @pytest.mark.slow
    def test_locating(self) -> None:
        """Any manifest is found with at most 45 reads from the newest, and all for a proof with at most 300."""
        by_cid: dict[Cid, Lazy] = {}
        asked: list[Cid] = []

        def get(cid: Cid) -> bytes:
            asked.append(cid)
            return by_cid[cid].encode()

        def known(index: int) -> Manifest:
            made = manifest(index)
            for pointer, cid in ((index - 1, made.prev), (jump_index(index), made.jump)):
                if cid is not None and pointer is not None:
                    by_cid.setdefault(cid, Lazy(pointer, known))
            return made

        newest = known(self.SIZE - 1)
        draw, most, most_for_proof = random.Random(2), 0, 0
        for index in [0, 1, 2, self.SIZE - 2, *(draw.randrange(self.SIZE) for _ in range(40))]:
            asked.clear()
            find = by_jumps(newest, get)

            def read(number: int, find: Callable[[int], Manifest] = find) -> tuple[merkle.Edge, bytes]:
                return find(number).edge_hashes, bytes(32)

            assert find(index).index == index
            most = max(most, len(asked))
            merkle.inclusion_from_edges(index, self.SIZE, read)
            most_for_proof = max(most_for_proof, len(asked))
        assert 20 <= most <= 45
        assert most_for_proof <= 300

    @pytest.mark.slow
    def test_a_home_reads_one_manifest_for_each_hash(self, home: Path) -> None:
        """The prover reads the manifests that the proof needs, and no other."""
        seal_batches(home, 130)
        with open_dataset(home) as dataset:
            source = dataset.sources[0]
            name = next(iter(open_home(home).batches())).log
            log = source.sealed_log(name)  # type: ignore[attr-defined]
            for index in (0, 1, 63, 64, 127, 128, 129):
                asked: list[int] = []

                def read(number: int, asked: list[int] = asked) -> Manifest:
                    asked.append(number)
                    return log.manifest(number)

                bundle = prove_record(SealedLog(name, log.head, read, log.open_batch), index, 0)
                assert len(asked) <= 8
                assert len(asked) <= len(bundle.proof.hashes)
                assert bundle.verify(log_key(home)).size == 130


class Lazy:
    """A manifest that is made when it is encoded."""

    def __init__(self, index: int, make: Any) -> None:
        self._index, self._make = index, make

    def encode(self) -> bytes:
        """Make the manifest, and return its block."""
        return self._make(self._index).encode()


def log_key(home: Path) -> Any:
    """Return the key of a home as a value."""
    from ipfs_log_handlers.format.checkpoint import VerifierKey

    return VerifierKey.parse(key_of(home))


class TestByJumps:
    def test_a_wrong_manifest(self) -> None:
        """A manifest at another place than its follower says is refused."""
        find = by_jumps(manifest(5), lambda _: manifest(1).encode())
        with pytest.raises(VerificationError, match="not the one that the chain names"):
            find(4)

    @pytest.mark.parametrize("index", [-1, 6])
    def test_no_such_number(self, index: int) -> None:
        """A number that the log does not have is refused before anything is read."""
        with pytest.raises(VerificationError, match="no manifest of this number"):
            by_jumps(manifest(5), lambda _: b"")(index)


class TestCheck:
    def test_the_value(self, home: Path) -> None:
        """The value says the place of the record, as JSON with the promised keys."""
        sample_homes.make(home, 10)
        (batch,) = open_home(home).batches()
        bundle = open_home(home).prove(batch.cid, 7)
        proven = check(bundle, key_of(home))
        value = json.loads(json.dumps(proven.as_json()))
        key = open_home(home).public_key()
        assert key is not None
        assert value == {
            "record": dict(proven.record), "subsystem": "audit", "log": batch.log, "index": 0, "number": 7,
            "records": 10, "cid": batch.cid, "sealed": batch.sealed, "tree_size": 1,
            "tree_root": Bundle.decode(bundle).proof.claim.root.hex(), "key": key.name,
        }  # fmt: skip
        assert proven.record == {**json.loads(proven.line), "subsystem": "audit"}

    def test_several_keys(self, home: Path) -> None:
        """One of several keys must have signed; none, or none at all, is an error."""
        sample_homes.make(home, 10)
        (batch,) = open_home(home).batches()
        bundle = open_home(home).prove(batch.cid, 7)
        assert check(bundle, [other_key(), key_of(home)]) == check(bundle, key_of(home))
        with pytest.raises(VerificationError, match="no trusted key"):
            check(bundle, other_key())
        with pytest.raises(ConfigurationError, match="no key to trust"):
            check(bundle, [])
        with pytest.raises(FormatError, match="not a verifier key"):
            check(bundle, "key")
        with pytest.raises(FormatError):
            check(b"", key_of(home))
