"""Each record's proof state: how far it has come, and what its bundle says under which key."""

from __future__ import annotations

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.api import check
from tests.support import sample_homes
from tests.support.serving import Running, serving, sources_of


def _proof(server: Running, number: int) -> dict:
    item = server.json("/api/records", limit=1, where=f"number={number}")["records"][0]
    proof = server.json("/api/proof", id=item["id"])
    assert proof["state"] == item["state"]
    return proof


@pytest.mark.kubo
def test_a_record_goes_from_the_spool_to_published(home, kubo):
    """Each step is done when it is done; the proof is checked with the home's own key."""
    sample_homes.log(home, range(5))
    with serving(sources_of(home)) as server:
        waiting = _proof(server, 2)
        sample_homes.seal(home)
        sealed = _proof(server, 2)
        sample_homes.ship(home, kubo.url)
        shipped = _proof(server, 2)
        sample_homes.publish(home, kubo.url)
        published = _proof(server, 2)
        sample_homes.log(home, range(5, 6))
        new = _proof(server, 5)

    proofs = [waiting, sealed, shipped, published]
    assert ["spool", "sealed", "shipped", "published"] == [proof["state"] for proof in proofs]
    assert [1, 2, 3, 4] == [sum(step["done"] for step in proof["steps"]) for proof in proofs]
    assert [None, True, True, True] == [proof["verified"] for proof in proofs]
    assert sample_homes.key_of(home) == sealed["key"]
    assert ("own", 0, 2) == (sealed["trust"], sealed["batch"]["index"], sealed["batch"]["number"])
    assert kubo.url in shipped["steps"][2]["detail"]
    assert "spool" == new["state"]


def test_the_bundle_is_what_check_reads(home):
    """The file proves the record without the home; a record in the spool has none."""
    sample_homes.make(home, 12)
    with serving(sources_of(home)) as server:
        item = server.json("/api/records", limit=1, where="number=7")["records"][0]
        answer = server.get("/api/bundle", id=item["id"])
        sample_homes.log(home, range(12, 13))
        waiting = server.json("/api/records", limit=1)["records"][0]
        refused = server.get("/api/bundle", id=waiting["id"])

    proven = check(answer.body, sample_homes.key_of(home))
    assert 7 == proven.record["number"]
    assert answer.headers["content-disposition"].startswith("attachment")
    assert 409 == refused.status


def test_a_record_whose_log_another_key_has_signed_is_not_verified(home, tmp_path):
    """With the key of another home, the proof fails, and says which key was expected."""
    sample_homes.make(home, 3)
    sample_homes.make(tmp_path / "other", 3)
    car = tmp_path / "log.car"
    open_home(home).export_car(car)
    sources = sources_of(others=[car], keys=[sample_homes.key_of(home)])
    with serving(sources) as server:
        good = _proof(server, 1)
        object.__setattr__(sources, "keys", (sample_homes.key_of(tmp_path / "other"),))
        bad = _proof(server, 1)
        object.__setattr__(sources, "keys", ())
        unknown = _proof(server, 1)

    assert (True, "given", "sealed") == (good["verified"], good["trust"], good["state"])
    assert (False, None) == (bad["verified"], bad["key"])
    assert "no trusted key" in bad["problem"]
    assert (None, "none") == (unknown["verified"], unknown["trust"])
    assert "--key" in unknown["problem"]
