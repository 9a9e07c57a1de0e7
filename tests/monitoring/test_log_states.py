"""How far each log of a home has come: sealed, shipped by each store, published."""

from __future__ import annotations

from ipfs_log_handlers import open_home
from tests.support import sample_homes


def test_a_batch_goes_from_the_spool_to_shipped(home):
    """Each batch has the step of its log; the stores are counted."""
    sample_homes.make(home, 25)
    (sealed,) = open_home(home).logs()
    sample_homes.ship(home, "memory:states")
    sample_homes.log(home, range(25, 35))
    sample_homes.seal(home)
    (shipped,) = open_home(home).logs()

    assert ["sealed", "sealed", "sealed", "spool"] == [sealed.step(index) for index in range(4)]
    assert ["shipped", "shipped", "shipped", "sealed", "spool"] == [shipped.step(index) for index in range(5)]
    assert {"memory:states": 3} == dict(shipped.stores)
    assert ["memory:states"] == list(shipped.holders(1))
    assert [] == list(shipped.holders(3))
    assert sample_homes.head_of(home) == shipped.head == shipped.as_json()["head"]
    assert {"subsystem", "log", "newest", "stores", "published_through"} <= shipped.as_json().keys()


def test_a_log_that_has_ended_is_listed_with_its_reason(home):
    """Former logs come first; the current one has no end."""
    sample_homes.make(home, 5)
    sample_homes.end(home)
    sample_homes.make(home, 5)
    former, current = open_home(home).logs()

    assert (True, False) == (former.is_former, current.is_former)
    assert None is current.ended
    assert [0, 0] == [former.newest, current.newest]
