"""The keeper writes index pages off the append path; a crash between any two steps leaves pages that are right."""

from __future__ import annotations

import errno
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ipfs_log_handlers import ConfigurationError, HomeError, open_dataset, open_home, subsystems
from ipfs_log_handlers.format.bloom import hash_of_text
from ipfs_log_handlers.home import index_pages
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.index_pages import IndexPages, StoredPage
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.policy import Policy, store_policy
from ipfs_log_handlers.keeper import indexing as indexing_module
from ipfs_log_handlers.keeper import upkeep as upkeep_module
from ipfs_log_handlers.keeper.indexing import MIN_NEW_BATCHES, Indexing
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.maintenance.damage import find
from tests.support import forked, indexed_homes, kill_steps, logging_home, sample_homes
from tests.support.indexed_homes import index, pages_of, seal_records
from tests.support.logging_home import settings


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages of 16 batches."""
    indexed_homes.small_pages(monkeypatch, 16)


def requests(first: int, count: int) -> list[dict[str, Any]]:
    """Return the fields of records, each with a request of its own."""
    return [{"request_id": f"request-{number}"} for number in range(first, first + count)]


def page_of(subsystem_dir: SubsystemDir, first: int) -> StoredPage | None:
    """Read a page as a reader does."""
    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    return pages_of(subsystem_dir).load(first, log)


def counts(subsystem_dir: SubsystemDir) -> dict[int, int]:
    """Return the number of batches in each page that can be used."""
    return {
        first: page.count
        for first in pages_of(subsystem_dir).firsts()
        if (page := page_of(subsystem_dir, first)) is not None
    }


def test_pages_grow_by_a_few_batches_and_at_the_end_of_a_keeper_have_all(home: Path) -> None:
    """The newest page is written again when enough batches are new; at its end a keeper leaves none out."""
    subsystem_dir = seal_records(home, requests(0, MIN_NEW_BATCHES - 1))
    upkeep = Upkeep(subsystem_dir)
    list(upkeep.steps(at_end=True))
    assert counts(subsystem_dir) == {}
    seal_records(home, requests(7, 1), first=8)
    list(upkeep.steps())
    assert counts(subsystem_dir) == {0: 8}
    seal_records(home, requests(8, 7), first=9)
    list(upkeep.steps())
    assert counts(subsystem_dir) == {0: 8}
    list(upkeep.steps(at_end=True))
    assert counts(subsystem_dir) == {0: 15}
    seal_records(home, requests(15, 2), first=16)
    list(upkeep.steps())
    assert counts(subsystem_dir) == {0: 16}
    assert not list(upkeep.steps())
    list(upkeep.steps(at_end=True))
    assert counts(subsystem_dir) == {0: 16, 16: 1}


def test_too_few_batches_have_no_page_and_import_nothing(home: Path) -> None:
    """Below the same number of batches upkeep does not even import what makes pages."""
    assert upkeep_module._MIN_INDEXED == MIN_NEW_BATCHES
    subsystem_dir = seal_records(home, requests(0, MIN_NEW_BATCHES - 1))
    with mock.patch.dict("sys.modules", {"ipfs_log_handlers.keeper.indexing": None}):
        list(Upkeep(subsystem_dir).steps(at_end=True))
    assert counts(subsystem_dir) == {}


def test_a_page_that_grows_is_the_same_as_one_that_is_made_at_once(home: Path) -> None:
    """Entries and filters that are taken over from an older page are those that the batches give."""
    subsystem_dir = seal_records(home, requests(0, 9))
    index(subsystem_dir)
    seal_records(home, requests(9, 4), first=10)
    index(subsystem_dir)
    path = pages_of(subsystem_dir).file(0)
    grown = path.read_bytes()
    path.unlink()
    index(subsystem_dir)
    assert path.read_bytes() == grown


def test_only_a_whole_page_has_a_filter_of_its_own(home: Path) -> None:
    """A page with all its batches has one filter over all ids, so that one block answers for all of them."""
    subsystem_dir = seal_records(home, requests(0, 20))
    index(subsystem_dir)
    whole, newest = page_of(subsystem_dir, 0), page_of(subsystem_dir, 16)
    assert whole is not None
    assert newest is not None
    assert whole.root.filters["request_id"][1] is not None
    assert newest.root.filters["request_id"][1] is None
    assert whole.may_hold("request_id", [hash_of_text("nowhere")]) == bytes(16)
    assert (whole.may_hold("request_id", [hash_of_text("request-3")]) or b"")[3] == 1


@pytest.mark.slow
def test_killed_between_any_two_steps_a_keeper_leaves_pages_that_are_right(home: Path) -> None:
    """Killed before or after any call that changes a file, a keeper leaves what is used or ignored, never wrong."""
    subsystem_dir = seal_records(home, requests(0, 10))
    index(subsystem_dir)
    pages = pages_of(subsystem_dir)
    grown = pages.file(0).read_bytes()
    seal_records(home, requests(10, 12), first=11)

    def work(number: int) -> None:
        pages.file(0).write_bytes(grown)
        pages.file(16).unlink(missing_ok=True)
        kill_steps.kill_at(number)
        list(Upkeep(subsystem_dir).steps(at_end=True))

    moments = 1
    while not forked.run_in_child(work, moments):
        for number in (0, 9, 10, 21):
            chosen = open_dataset(home).filter(where={"request_id": f"request-{number}"})
            assert [record["seq"] for record in chosen] == [number + 1]
        assert [record["seq"] for record in open_dataset(home)] == list(range(1, 23))
        moments += 1
    assert moments > 8  # two pages, each written and renamed, and the kills before and after
    assert counts(subsystem_dir) == {0: 16, 16: 6}
    Batches(subsystem_dir.current.batches).sweep()
    assert not list(subsystem_dir.current.batches.rglob("*.tmp"))


def test_a_page_that_cannot_be_used_is_made_again(home: Path) -> None:
    """Missing, damaged, of another version, or too long for its log: the next keeper writes the page again."""
    subsystem_dir = seal_records(home, requests(0, 20))
    index(subsystem_dir)
    path = pages_of(subsystem_dir).file(0)
    whole = path.read_bytes()
    for content in (None, b"", whole[:99], whole.replace(b"av\x01", b"av\x02", 1), whole.replace(b"info", b"xxxx", 1)):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        index(subsystem_dir)
        assert path.read_bytes() == whole


def test_a_field_that_is_declared_later_gets_filters(home: Path) -> None:
    """When a subsystem lists another field as ids, the keeper makes its pages again, with the older fields, too."""
    rows = [{"request_id": f"request-{number}", "job": f"job-{number}"} for number in range(20)]
    subsystem_dir = seal_records(home, rows)
    index(subsystem_dir)
    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    list(Indexing(LogDir.current_of(subsystem_dir)).steps(log, 19, ("job",), at_end=True))
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert page.root.filters.keys() == {"job", "request_id", "trace_id"}
    for where, seq in (({"job": "job-7"}, 8), ({"request_id": "request-3"}, 4)):
        chosen = open_dataset(home).filter(where=where)
        assert [record["seq"] for record in chosen] == [seq]
        assert chosen.explain().opened <= 3


def test_ids_of_a_program_reach_a_keeper_that_does_not_know_its_subsystem(home: Path) -> None:
    """The fields stand in segment headers and in `settings.json`, so that any keeper makes the filters."""
    mine = subsystems.Subsystem(name="bills", type="bills", ids=["invoice"])
    policy = Policy.of(settings(home), mine)
    assert Policy.from_json(policy.as_json(), Policy.default(home, "logs")).ids == ("invoice",)
    assert Policy.from_json({"ids": ["a.b"]}, policy).ids == ("invoice",)
    assert Policy.from_json({"ids": ["a"] * 17}, policy).ids == ("invoice",)
    subsystem_dir = seal_records(home, [{"invoice": f"i-{number}"} for number in range(9)])
    for segment in subsystem_dir.spool.glob("*.seg"):
        segment.unlink()
    other = subsystems.Subsystem(name="logs", type="logs", ids=("invoice",))
    store_policy(subsystem_dir.settings, Policy.of(settings(home), other))
    index(subsystem_dir)
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert list(page.root.filters) == ["invoice"]


@pytest.mark.parametrize(
    "ids", ["request_id", [""], ["a.b"], ["event"], ["subsystem"], [5], [f"f{n}" for n in range(17)]], ids=str
)
def test_wrong_ids_of_a_subsystem_are_refused(ids: Any) -> None:
    """`ids` is a list of at most 16 fields of the record itself, none of them a key that every record has."""
    with pytest.raises(ConfigurationError, match="ids"):
        subsystems.Subsystem(name="mine", type="mine", ids=ids)


def test_a_dictconfig_gives_ids_as_a_list() -> None:
    """A subsystem of a logging configuration has its ids as one that a program makes."""
    made = subsystems.Subsystem.parse({"name": "mine", "type": "mine", "ids": ["invoice"]})
    assert made.ids == ("invoice",)


def test_all_subsystems_of_this_package_list_request_and_trace() -> None:
    """A request can be found over all subsystems."""
    for subsystem in subsystems.load():
        assert {"request_id", "trace_id"} <= set(subsystem.ids)


def test_the_manifest_does_not_change_with_ids(home: Path) -> None:
    """Ids are kept in the index alone: the rules of a batch, and so its manifest, are those without them."""
    plain = subsystems.Subsystem(name="mine", type="mine", zone=["a"])
    with_ids = subsystems.Subsystem(name="mine", type="mine", zone=["a"], ids=["request_id"])
    assert plain.rules == with_ids.rules
    assert plain.rules.id == with_ids.rules.id
    subsystem_dir = seal_records(home, requests(0, 1))
    stats = Batches(subsystem_dir.current.batches).facts(0).manifest.stats
    assert "request_id" not in str(stats)


def test_what_has_left_the_home_keeps_its_filters_when_its_page_grows_or_is_complete(home: Path) -> None:
    """Payloads that retention takes away are in the filters already; those that were never read are unknown."""
    subsystem_dir = seal_records(home, requests(0, 10))
    index(subsystem_dir)
    seal_records(home, requests(10, 10), first=11)
    Batches(subsystem_dir.current.batches).strip(*range(12))
    index(subsystem_dir)
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert page.count == 16
    assert page.root.filters["request_id"][1] is None
    asked = page.may_hold("request_id", [hash_of_text("request-14")])
    assert asked is not None
    assert list(asked[10:12]) == [1, 1]
    assert asked[14] == 1
    assert sum(asked) < 6


def test_a_damaged_batch_has_no_entry_until_it_is_whole_again(home: Path) -> None:
    """A batch that cannot be read has a `null` entry and is looked at by each query; repaired, it gets its entry."""
    subsystem_dir = seal_records(home, requests(0, 9))
    path = Batches(subsystem_dir.current.batches).file(2)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    index(subsystem_dir)
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert [number for number, entry in enumerate(page.entries) if entry is None] == [2]
    gaps: list[Any] = []
    assert list(open_dataset(home, on_gap=gaps.append).filter(where={"request_id": "no"})) == []
    assert [gap.index for gap in gaps] == [2]
    path.write_bytes(whole)
    index(subsystem_dir)
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert None not in page.entries


def test_a_record_whose_id_cannot_be_decoded_makes_the_filters_of_its_batch_unknown(home: Path) -> None:
    """An id that this code cannot read may be anything: its batch is opened for every id, and the record is found."""
    real = logging_home.record

    def record(*args: Any, **fields: Any) -> bytes:
        return real(*args, **fields).replace(b'"huge"', b"1e999")

    with mock.patch.object(indexed_homes, "record", record):
        subsystem_dir = seal_records(home, [*requests(0, 8), {"request_id": "huge"}])
    index(subsystem_dir)
    page = page_of(subsystem_dir, 0)
    assert page is not None
    asked = page.may_hold("request_id", [hash_of_text("nowhere")])
    assert asked is not None
    assert asked[8] == 1
    assert sum(asked) < 4
    found = open_dataset(home).filter(where={"request_id": float("inf")})
    assert [record["seq"] for record in found] == [9]


def test_a_run_reads_a_bounded_number_of_batches(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large home from before there were pages gets them over many runs, the newest page first."""
    monkeypatch.setattr(indexing_module, "_BATCHES_PER_RUN", 16)
    subsystem_dir = seal_records(home, requests(0, 40))
    upkeep = Upkeep(subsystem_dir)
    list(upkeep.steps())
    assert counts(subsystem_dir) == {32: 8, 16: 16}
    list(upkeep.steps())
    assert counts(subsystem_dir) == {32: 8, 16: 16, 0: 16}


def test_a_log_that_ends_while_a_page_is_made_gets_no_page_of_another_log(home: Path) -> None:
    """Between two steps the log moves to `former/`: nothing is written where the next log begins."""
    subsystem_dir = seal_records(home, requests(0, 9))
    steps = Upkeep(subsystem_dir).steps(at_end=True)
    for _ in range(6):
        next(steps)
    sample_homes.end(home, "logs")
    seal_records(home, requests(9, 2), first=10)
    list(steps)
    assert pages_of(subsystem_dir).firsts() == []


# -- books


def test_whole_small_pages_are_moved_into_a_book_and_answer_as_before(home: Path) -> None:
    """Home rule 33: many batches do not make many files; a page that is made again counts before that of the book."""
    subsystem_dir = seal_records(home, requests(0, 70))
    pages = index(subsystem_dir)
    assert [pages.book(0)] == list(pages.path.iterdir())
    assert counts(subsystem_dir) == {0: 16, 16: 16, 32: 16, 48: 16, 64: 6}
    for number in (0, 17, 40, 63, 69):
        chosen = open_dataset(home).filter(where={"request_id": f"request-{number}"})
        assert [record["seq"] for record in chosen] == [number + 1]
        assert chosen.explain().opened <= 4
    seal_records(home, requests(70, 8), first=71)
    list(Upkeep(subsystem_dir).steps())
    assert {pages.book(0), pages.file(64)} == set(pages.path.iterdir())
    assert counts(subsystem_dir)[64] == 14
    index(subsystem_dir)
    assert [pages.book(0)] == list(pages.path.iterdir())
    assert counts(subsystem_dir)[64] == 14
    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    pages.file(16).write_bytes(b"damaged")
    assert page_of(subsystem_dir, 16) is None
    assert pages.where(16) == pages.file(16)
    list(Indexing(LogDir.current_of(subsystem_dir)).steps(log, 77, ("request_id",)))
    assert counts(subsystem_dir)[16] == 16


def test_killed_between_any_two_steps_of_a_move_each_page_is_found(home: Path) -> None:
    """Home rule 33: a book is written beside its place, renamed, and then the files of its pages go."""
    subsystem_dir = seal_records(home, requests(0, 48))
    with mock.patch.object(index_pages, "_MIN_JOINED", 99):
        pages = index(subsystem_dir)
    expected = {first: page_of(subsystem_dir, first).entries for first in (0, 16, 32)}  # type: ignore[union-attr]
    survived = 0
    while True:
        calls = [survived]

        def dying(real: Any, calls: list[int] = calls) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                calls[0] -= 1
                if calls[0] < 0:
                    raise KeyboardInterrupt
                return real(*args, **options)

            return call

        names = ("write", "rename", "unlink")
        with mock.patch.multiple("os", **{name: dying(getattr(os, name)) for name in names}):
            try:
                list(pages.join({0, 16, 32}))
            except KeyboardInterrupt:
                survived += 1
                found = {first: page_of(subsystem_dir, first) for first in (0, 16, 32)}
                assert expected == {first: page.entries for first, page in found.items() if page is not None}
            else:
                break
    assert survived >= 3
    left = [path.name for path in pages.path.iterdir() if path.suffix == ".page"]
    assert len(left) < 3  # they are moved again when there are more of them
    assert counts(subsystem_dir) == {0: 16, 16: 16, 32: 16}


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"ipfslogb", bytes(4000), None])
def test_a_book_that_cannot_be_used_is_made_again(home: Path, content: bytes | None) -> None:
    """Home rule 33: what is in the place of a book changes no answer, and the next keeper makes its pages again."""
    subsystem_dir = seal_records(home, requests(0, 48))
    pages = index(subsystem_dir)
    whole = pages.book(0).read_bytes()
    damaged = whole[:-9] + b"x" + whole[-8:] if content is None else content
    pages.book(0).write_bytes(damaged)
    assert [record["seq"] for record in open_dataset(home).filter(where={"request_id": "request-40"})] == [41]
    index(subsystem_dir)
    assert counts(subsystem_dir) == {0: 16, 16: 16, 32: 16}


def test_doctor_names_a_damaged_page_in_a_book_and_moves_the_book_away(home: Path) -> None:
    """Home rule 33: a book is a cache; the keeper makes its pages again."""
    subsystem_dir = seal_records(home, requests(0, 48))
    pages = index(subsystem_dir)
    data = pages.book(0).read_bytes()
    pages.book(0).write_bytes(data[:-9] + b"x" + data[-8:])
    damage = [found for found in find(subsystem_dir) if found.kind == "page"]
    assert [pages.book(0)] == [found.path for found in damage]
    repaired = open_home(home).repair()
    assert [True] == [repair.repaired for repair in repaired if repair.damage is not None]
    assert not pages.book(0).exists()


@pytest.mark.parametrize("kind", ["file", "link", "refused"])
def test_pages_that_cannot_be_written_hold_up_no_other_work(home: Path, tmp_path: Path, kind: str) -> None:
    """Where the directory of the pages is no directory, or the disk refuses a page, packs and answers stay right."""
    subsystem_dir = seal_records(home, requests(0, 9))
    batches = subsystem_dir.current.batches
    if kind == "file":
        (batches / "pages").write_bytes(b"")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        (batches / "pages").symlink_to(tmp_path / "elsewhere")
    refused = OSError(errno.ENOSPC, "no room") if kind == "refused" else None
    refusing = mock.patch.object(IndexPages, "write", side_effect=refused) if refused else nullcontext()
    upkeep = Upkeep(subsystem_dir)
    with refusing, pytest.raises((OSError, HomeError)):
        list(upkeep.steps(max_files=1, at_end=True))
    assert Batches(batches).is_packed(8)
    assert not list(batches.glob("*.tmp"))
    assert not list(tmp_path.glob("elsewhere/*"))
    found = open_dataset(home).filter(where={"request_id": "request-4"})
    assert [record["seq"] for record in found] == [5]


def test_a_page_grows_without_reading_its_batches_again(home: Path) -> None:
    """While one keeper works, each batch is read once, also for the filter of the whole page."""
    subsystem_dir = seal_records(home, requests(0, 8))
    upkeep = Upkeep(subsystem_dir)
    with mock.patch.object(indexing_module, "_blocks_of", side_effect=indexing_module._blocks_of) as read:
        list(upkeep.steps())
        seal_records(home, requests(8, 8), first=9)
        list(upkeep.steps())
    assert read.call_count == 16
    page = page_of(subsystem_dir, 0)
    assert page is not None
    assert page.root.filters["request_id"][1] is not None
    grown = pages_of(subsystem_dir).file(0).read_bytes()
    pages_of(subsystem_dir).file(0).unlink()
    index(subsystem_dir)
    assert pages_of(subsystem_dir).file(0).read_bytes() == grown
