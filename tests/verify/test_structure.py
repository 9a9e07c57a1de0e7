"""A chain of 64 manifests is accepted as it was signed, and not when it is cut, doubled, swapped or spliced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import pytest

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import SecretKey, log_name
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.reader.chain_check import Link, differences
from ipfs_log_handlers.reader.sealed import check_head
from tests.support import chains

pytestmark = pytest.mark.slow

COUNT = 64
LOG = chains.build(COUNT)
SISTER = chains.build(COUNT, log=chains.SISTER, mark=1)
OTHER_KEY = SecretKey.generate(bytes(32))
ALL = range(COUNT)


def accepted(links: Sequence[Link], head: Head, key: SecretKey = chains.KEY) -> bool:
    """Verify a chain as a reader who has the key and the newest head."""
    try:
        check_head(head, [key.verifier])
    except VerificationError:
        return False
    return bool(links) and not any(differences(links, head, whole=True))


def test_the_chain_as_it_was_signed_is_accepted() -> None:
    """With its newest head, and each older part of it with the head of that time."""
    for count in range(1, COUNT + 1):
        assert accepted(LOG.placed(range(count)), LOG.heads[count - 1])
        assert accepted(SISTER.placed(range(count)), SISTER.heads[count - 1])


def truncations() -> Iterator[list[Link]]:
    """Yield each beginning of the chain that is not all of it."""
    for count in ALL:
        yield list(LOG.placed(range(count)))


def drops() -> Iterator[list[Link]]:
    """Yield the chain without one manifest: those after it move up, or leave a hole."""
    for gone in ALL:
        yield list(LOG.placed([index for index in ALL if index != gone]))
        yield [link for link in LOG.links if link.index != gone]


def duplicates() -> Iterator[list[Link]]:
    """Yield the chain with one manifest twice."""
    for twice in ALL:
        yield list(LOG.placed([*range(twice + 1), *range(twice, COUNT)]))


def swaps() -> Iterator[list[Link]]:
    """Yield the chain with two manifests in each other's place: 2,016 pairs."""
    for one, other in combinations(ALL, 2):
        order = list(ALL)
        order[one], order[other] = other, one
        yield list(LOG.placed(order))


def replays() -> Iterator[list[Link]]:
    """Yield the chain with an older manifest in the place of the newest, and with all of it once more."""
    for older in range(COUNT - 1):
        yield list(LOG.placed([*range(COUNT - 1), older]))
    yield list(LOG.placed([*ALL, *ALL]))


def splices() -> Iterator[list[Link]]:
    """Yield a beginning of one log and an end of its sister, which the same key has signed: 4,096 of them."""
    for kept in ALL:
        for taken in ALL:
            if kept or taken:
                head, tail = LOG.placed(range(kept)), SISTER.manifests[taken:]
                cids = SISTER.cids[taken:]
                yield [*head, *(chains.Link(kept + n, tail[n], cids[n]) for n in range(len(tail)))]
    yield list(SISTER.links)


@pytest.mark.parametrize(
    ("shapes", "count"),
    [(truncations, 64), (drops, 128), (duplicates, 64), (swaps, 2016), (replays, 64), (splices, 4096)],
    ids=lambda value: value.__name__ if callable(value) else str(value),
)
def test_no_other_shape_is_accepted(shapes: Callable[[], Iterator[list[Link]]], count: int) -> None:
    """Not with the head of the one log, nor with that of its sister."""
    tried = wrong = 0
    for links in shapes():
        tried += 1
        wrong += accepted(links, LOG.heads[-1])
        if shapes is not splices or links != SISTER.links:
            wrong += accepted(links, SISTER.heads[-1])
    assert (tried, wrong) == (count, 0)


def test_no_manifest_of_the_sister_is_accepted_in_a_place() -> None:
    """One manifest of the same number, of a log with the same key, in the place of another: 64 of them."""
    for place in ALL:
        links = list(LOG.links)
        links[place] = SISTER.links[place]
        assert not accepted(links, LOG.heads[-1])


def test_a_log_under_another_name_or_key_is_not_accepted() -> None:
    """The origin is in each manifest and in the signed text, and the key in the origin."""
    renamed = chains.build(COUNT, log=log_name(chains.KEY.name, "wal", "01234567"))
    stolen = chains.build(COUNT, key=OTHER_KEY)
    assert not accepted(renamed.links, LOG.heads[-1])
    assert not accepted(LOG.links, renamed.heads[-1])
    assert not accepted(stolen.links, stolen.heads[-1])
    assert not accepted(LOG.links, stolen.heads[-1], OTHER_KEY)
    with pytest.raises(LogStoreError):
        stolen.heads[-1].verify(chains.KEY.verifier)
