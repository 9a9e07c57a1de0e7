"""A log elsewhere is followed by the name that leads to its newest head; the one who is asked is not believed."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import ConfigurationError, StoreUnavailable, VerificationError, open_dataset, open_home
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.query import followed_batches
from ipfs_log_handlers.reader import gateway as gateway_module
from tests.query.test_history import forge
from tests.support import gateways, sample_homes
from tests.support.cli import run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask without pauses."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": ()})
    monkeypatch.setattr(followed_batches, "_NAME_S", 0.0)


class Published:
    """A home whose blocks a gateway has, and a name for its newest head."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.blocks: dict[Any, bytes] = {}
        self.names: dict[str, str] = {}
        self._numbers = itertools.count()

    def seal(self, count: int = 10) -> list[int]:
        """Log and seal some records, and publish the head; return their numbers."""
        numbers = list(itertools.islice(self._numbers, count))
        sample_homes.log(self.home, range(numbers[0], numbers[-1] + 1))
        sample_homes.seal(self.home)
        self.blocks |= gateways.blocks_of(self.home)
        self.names["newest"] = self.head()
        return numbers

    def head(self, index: int | None = None) -> str:
        """Return the CID of a head."""
        batches = Batches(sample_homes.subsystem_dir(self.home).current.batches)
        return batches.facts(max(batches.indexes()) if index is None else index).head_cid.text

    @property
    def key(self) -> str:
        """The verifier key."""
        key = open_home(self.home).public_key()
        assert key is not None
        return key.verifier


@pytest.fixture
def published(home: Path) -> Published:
    """Give a home with two sealed batches, published under `newest`."""
    made = Published(home)
    made.seal(20)
    return made


def numbers(matches: Any) -> list[int]:
    """Return the numbers of matches."""
    return [match.record["number"] for match in matches]


def test_new_batches_come_once_as_their_head_is_published(published):
    """The newest records first, then those of each new head; known manifests are not asked for again."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key])
        following = dataset.follow(last=3)
        assert numbers(following.poll()) == [17, 18, 19]
        assert following.poll() == []
        for count in (10, 25):
            expected = published.seal(count)
            served.asked.clear()
            assert numbers(following.poll()) == expected
            assert len(served.asked) <= 2 + 3 * (count // 10 + 1)
            assert following.poll() == []
        assert dataset.count() == 55
        assert dataset.verify()[0].ok
        dataset.close()


def test_a_cursor_goes_on_where_it_was(published):
    """Also in the middle of a batch, and in another process."""
    with gateways.gateway(published.blocks, names=published.names) as served, ExitStack() as stack:

        def follow(cursor: str | None = None) -> Any:
            dataset = open_dataset("ipns://newest", gateway=served.url, keys=[published.key])
            return stack.enter_context(dataset).follow(cursor)

        first = follow()
        expected = published.seal(10)
        found = [next(first)["number"] for _ in range(4)]
        second = follow(first.cursor)
        found += numbers(second.poll())
        expected += published.seal(5)
        found += numbers(second.poll())
        found += numbers(follow(second.cursor).poll())
        assert found == expected


def test_an_old_answer_gives_nothing_and_an_outage_is_reported_once(published):
    """Who answers with an older head, or not at all, delays the records and loses none."""
    gaps: list[Any] = []
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key], on_gap=gaps.append)
        following = dataset.follow()
        published.names["newest"] = published.head(0)
        assert following.poll() == []
        del published.names["newest"]
        assert following.poll() == following.poll() == []
        assert [gap.kind for gap in gaps] == ["absent"]
        expected = published.seal(10)
        assert numbers(following.poll()) == expected
        dataset.close()


def test_a_log_that_was_left_gives_nothing_again(published):
    """Answers that alternate between the heads of a former log and of its successor repeat no record."""
    with gateways.gateway(published.blocks, names=published.names) as served, ExitStack() as stack:

        def follow(cursor: str | None = None) -> Any:
            dataset = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key])
            return stack.enter_context(dataset).follow(cursor)

        following = follow()
        former = published.head()
        sample_homes.end(published.home)
        assert numbers(following.poll()) == []
        expected = published.seal(5)
        latter = published.head()
        assert numbers(following.poll()) == expected
        for head in (former, latter, former, latter):
            published.names["newest"] = head
            assert following.poll() == []
            assert follow(following.cursor).poll() == []
        published.names["newest"] = former
        resumed = follow(following.cursor)
        assert resumed.poll() == []
        expected = published.seal(5)
        assert numbers(resumed.poll()) == numbers(following.poll()) == expected


def test_a_name_goes_on_after_a_missing_payload(published):
    """The records come when the payload is there, although the head has not changed."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key])
        following = dataset.follow()
        expected = published.seal(10)
        batches = Batches(sample_homes.subsystem_dir(published.home).current.batches)
        payload = batches.facts(max(batches.indexes())).manifest.payload
        block = published.blocks.pop(payload)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                following.poll()
        published.blocks[payload] = block
        assert numbers(following.poll()) == expected
        dataset.close()


def test_a_head_that_is_forged_is_refused(published, tmp_path):
    """A head of another key, and a second history that the key has signed."""
    stranger = Published(tmp_path / "stranger")
    stranger.seal(5)
    with gateways.gateway(published.blocks, names=published.names) as served:
        dataset = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key])
        following = dataset.follow()
        published.blocks |= stranger.blocks
        published.names["newest"] = stranger.head()
        with pytest.raises(VerificationError, match="no trusted key"):
            following.poll()
        dataset.close()

        other = open_dataset("/ipns/newest", gateway=served.url, keys=[published.key])
        published.seal(10)
        following = other.follow()
        batches = Batches(sample_homes.subsystem_dir(published.home).current.batches)
        head, forged = forge(published.home, 2, sealed=batches.facts(2).manifest.sealed + 1)
        published.blocks |= forged
        published.names["newest"] = head
        with pytest.raises(VerificationError, match="two histories"):
            following.poll()
        other.close()


def test_a_name_needs_a_key_and_a_cid_does_not_change(published):
    """A name needs a key; and a CID cannot be followed."""
    with pytest.raises(ConfigurationError, match="a name needs a key"):
        open_dataset("/ipns/newest", gateway="http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="not a name"):
        open_dataset("/ipns/a/b", gateway="http://127.0.0.1:9", keys=[published.key])
    with pytest.raises(ConfigurationError, match="does not change"):
        open_dataset(published.head(), gateway="http://127.0.0.1:9").follow()


@pytest.mark.parametrize("place", ["rpc", "gateway"])
def test_a_name_of_a_real_daemon_is_followed(published, kubo, place):
    """A head that was published with `ipfs name publish`, by RPC and by gateway."""
    sample_homes.ship(published.home, kubo.url)

    def publish() -> str:
        options = ("--allow-offline", "--resolve=false", "--quieter", "--ttl=1s")
        return kubo.cli("name", "publish", *options, f"/ipfs/{published.head()}").strip()

    name = publish()
    place_to_ask = {"kubo": kubo.url} if place == "rpc" else {"gateway": kubo.gateway_url}
    with open_dataset(f"/ipns/{name}", keys=[published.key], **place_to_ask) as dataset:
        following = dataset.follow(last=1)
        assert numbers(following.poll()) == [19]
        expected = published.seal(10)
        sample_homes.ship(published.home, kubo.url)
        publish()
        found: list[int] = []
        while not found:
            found += numbers(following.poll())
            following.wait()
        assert found == expected


def test_the_command_line_follows_a_name(published):
    """`tail` and `query` take a name."""
    with gateways.gateway(published.blocks, names=published.names) as served:
        given = ["--source", "/ipns/newest", "--gateway", served.url, "--key", published.key]
        assert len(run("query", *given, "-n", "5").objects) == 5
