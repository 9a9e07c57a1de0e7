"""All logs of a home are read as one source, by its home head, its name or a file, and followed; none is believed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import ConfigurationError, VerificationError, open_dataset, open_home
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.query import followed_batches
from ipfs_log_handlers.reader import gateway as gateway_module
from tests.query.test_history import forge
from tests.support import gateways, mutations, sample_homes
from tests.support.cli import run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask without pauses."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": ()})
    monkeypatch.setattr(followed_batches, "_NAME_S", 0.0)


class PublishedHome:
    """A home with some subsystems, whose blocks and name a gateway has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: dict[Any, bytes] = {}
        self.names: dict[str, str] = {}
        self._numbers = itertools.count()
        self._counters = itertools.count(1)

    def seal(self, *subsystems: str, count: int = 10) -> list[int]:
        """Log and seal some records of each subsystem; return their numbers."""
        numbers = list(itertools.islice(self._numbers, count * len(subsystems)))
        for number, subsystem in enumerate(subsystems):
            first = numbers[number * count]
            sample_homes.log(self.path, range(first, first + count), subsystem)
        sample_homes.seal(self.path)
        self.blocks |= gateways.blocks_of(self.path)
        return numbers

    def heads(self, *subsystems: str) -> list[LogHead]:
        """Return the newest head of these subsystems."""
        found = []
        for subsystem in subsystems:
            batches = Batches(sample_homes.subsystem_dir(self.path, subsystem).current.batches)
            header = batches.facts(max(batches.indexes()))
            found.append(LogHead(header.head.log, header.head.index, header.head_cid))
        return found

    def publish(self, *subsystems: str, heads: list[LogHead] | None = None, counter: int | None = None) -> str:
        """Sign a home head, let the name lead to it, and return its CID."""
        key = keys.load(HomeDir(self.path))
        assert key is not None
        number = next(self._counters) if counter is None else counter
        head = HomeHead.sign(key, counter=number, time=0, logs=heads or self.heads(*subsystems))
        self.blocks[head.cid] = head.encode()
        self.names["home"] = head.cid.text
        return head.cid.text

    @property
    def key(self) -> str:
        """The verifier key."""
        key = open_home(self.path).public_key()
        assert key is not None
        return key.verifier


@pytest.fixture
def published(home: Path) -> PublishedHome:
    """Give a home with two subsystems, published under `home`."""
    made = PublishedHome(home)
    made.seal("audit", "wal", count=20)
    made.publish("audit", "wal")
    return made


def numbers(matches: Any) -> list[int]:
    """Return the numbers of matches, in their order."""
    return sorted(match.record["number"] for match in matches)


def test_the_cid_of_a_home_head_is_a_source(published):
    """All logs at once; each can be chosen, counted and verified; only what is asked for is read."""
    cid = published.names["home"]
    with gateways.gateway(published.blocks) as served:
        with open_dataset(cid, gateway=served.url, keys=[published.key]) as dataset:
            assert sorted(record["number"] for record in dataset) == list(range(40))
            assert [report.subsystem for report in dataset.verify()] == ["audit", "wal"]
            assert all(report.ok for report in dataset.verify())
        served.asked.clear()
        with open_dataset(cid, gateway=served.url) as dataset:
            chosen = dataset.filter(subsystem="wal")
            assert chosen.count() == 20
        wal = published.heads("wal")[0].head.text
        assert wal in served.asked
        assert published.heads("audit")[0].head.text not in served.asked


def test_all_logs_of_a_name_are_followed(published):
    """New records of each log come once, those of a new subsystem from its first one on."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/home", gateway=served.url, keys=[published.key])
        following = dataset.follow(last=2)
        assert len(following.poll()) == 2
        assert following.poll() == []
        expected = published.seal("audit")
        published.publish("audit", "wal")
        served.asked.clear()
        assert numbers(following.poll()) == expected
        assert published.heads("wal")[0].head.text not in served.asked[2:]
        assert following.poll() == []
        cursor = following.cursor
        expected = published.seal("wal", "telemetry")
        published.publish("audit", "wal", "telemetry")
        assert numbers(following.poll()) == expected
        again = open_dataset("/ipns/home", gateway=served.url, keys=[published.key])
        assert numbers(again.follow(cursor).poll()) == expected
        assert again.count() == 70
        dataset.close()
        again.close()


def test_an_older_home_head_gives_nothing(published):
    """Nor does one without a log, nor the head of a single log: what is known stays."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/home", gateway=served.url, keys=[published.key])
        following = dataset.follow()
        older = published.heads("audit", "wal")
        first = published.names["home"]
        expected = published.seal("audit")
        published.publish("audit", "wal")
        assert numbers(following.poll()) == expected
        for name in (first, older[0].head.text):
            published.names["home"] = name
            assert following.poll() == []
            assert dataset.count() == 50
        published.publish(heads=older)
        assert following.poll() == []
        published.publish("wal")
        assert following.poll() == []
        assert dataset.count() == 50
        expected = published.seal("audit")
        published.publish("audit", "wal")
        assert numbers(following.poll()) == expected
        dataset.close()


def test_a_home_head_of_another_key_is_refused(published, tmp_path):
    """One that a stranger signed, and one that names heads of a stranger."""
    stranger = PublishedHome(tmp_path / "stranger")
    stranger.seal("audit")
    stranger.publish("audit")
    blocks = {**published.blocks, **stranger.blocks}
    with gateways.gateway(blocks, names=stranger.names) as served:
        for source in ("/ipns/home", stranger.names["home"]):
            with (
                open_dataset(source, gateway=served.url, keys=[published.key]) as dataset,
                pytest.raises(VerificationError, match="no trusted key has signed the home head"),
            ):
                dataset.count()


@pytest.mark.parametrize("wrong", ["another batch", "a manifest", "another log"])
def test_a_home_head_that_names_other_blocks_is_refused(published, wrong):
    """The block of a log must be the head block of that log and batch."""
    audit, wal = published.heads("audit", "wal")
    manifest = Batches(sample_homes.subsystem_dir(published.path).current.batches).facts(audit.index).cid
    changed = {
        "another batch": LogHead(audit.log, audit.index - 1, audit.head),
        "a manifest": LogHead(audit.log, audit.index, manifest),
        "another log": LogHead(audit.log, audit.index, wal.head),
    }[wrong]
    cid = published.publish(heads=[changed, wal])
    with (
        gateways.gateway(published.blocks) as served,
        open_dataset(cid, gateway=served.url, keys=[published.key]) as dataset,
        pytest.raises(VerificationError),
    ):
        dataset.count()


def test_two_histories_of_a_home_are_told(published):
    """Two home heads with one counter, and a log with another batch of a number."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/home", gateway=served.url, keys=[published.key])
        following = dataset.follow()
        published.publish(heads=published.heads("audit"), counter=1)
        with pytest.raises(VerificationError, match="a home has two histories"):
            following.poll()
        batches = Batches(sample_homes.subsystem_dir(published.path).current.batches)
        newest = max(batches.indexes())
        head, forged = forge(published.path, newest, sealed=batches.facts(newest).manifest.sealed + 1)
        published.blocks |= forged
        audit, wal = published.heads("audit", "wal")
        published.publish(heads=[LogHead(audit.log, audit.index, type(audit.head).parse(head)), wal])
        with pytest.raises(VerificationError, match="a log has two histories"):
            following.poll()
        dataset.close()


@pytest.mark.slow
def test_every_changed_bit_of_a_home_head_at_a_liar(published):
    """A gateway that answers with a changed home head is never believed."""
    block = published.blocks[open_cid(published)]
    mutants = itertools.islice(mutations.flips(block), 0, None, 97)
    with gateways.gateway(published.blocks, names=published.names) as served:
        for mutant in mutants:
            cid = type(open_cid(published)).of(0x71, mutant)
            published.blocks[cid] = mutant
            published.names["home"] = cid.text
            with (
                open_dataset("/ipns/home", gateway=served.url, keys=[published.key]) as dataset,
                pytest.raises(VerificationError),
            ):
                dataset.count()


def open_cid(published: PublishedHome) -> Any:
    """Return the CID of the newest home head."""
    return next(cid for cid in published.blocks if cid.text == published.names["home"])


def write_file(published: PublishedHome, path: Path) -> None:
    """Write the file of the newest home head."""
    cid = open_cid(published)
    heads = [log.head for log in HomeHead.decode(published.blocks[cid]).logs]
    path.write_bytes(car.encode([cid], [(each, published.blocks[each]) for each in (cid, *heads)]))


def test_a_file_is_a_name(published, tmp_path):
    """A file of a home head is read and followed as a name is; batches come from the gateway."""
    path = tmp_path / "home-head.car"
    write_file(published, path)
    with gateways.gateway(published.blocks) as served:
        dataset = open_dataset(path, gateway=served.url, keys=[published.key])
        assert dataset.count() == 40
        following = dataset.follow()
        expected = published.seal("wal")
        published.publish("audit", "wal")
        assert following.poll() == []
        write_file(published, path)
        assert numbers(following.poll()) == expected
        path.write_bytes(b"")
        dataset.close()
        given = ["--source", path, "--gateway", served.url, "--key", published.key]
        write_file(published, path)
        assert len(run("query", *given, "-n", "5").objects) == 5
    with pytest.raises(ConfigurationError, match="needs a key"):
        open_dataset(path, gateway="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="exactly one place"):
        open_dataset(path, keys=[published.key])
    key = SecretKey.generate(bytes(32)).verifier.text
    with (
        open_dataset(path, gateway="http://127.0.0.1:9", keys=[key]) as stranger,
        pytest.raises(VerificationError, match="no trusted key"),
    ):
        stranger.count()
