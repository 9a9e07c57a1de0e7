"""Queries for an id over logs of other homes open the batches that may have it, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.home.imported_logs import index_directory
from ipfs_log_handlers.home.index_pages import IndexPages
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import indexed_homes, sample_homes
from tests.support.cli import run


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with thirty batches of four records, each with an id of its own."""
    fields = [{"request_id": f"id-{number}", "number": number} for number in range(120)]
    indexed_homes.seal_records(tmp_path / "other", fields, a_batch=4)
    return tmp_path / "other"


def found(dataset: Dataset, name: str) -> tuple[list[int], int]:
    """Return the numbers of the records with an id, and how many batches are opened for that."""
    chosen = dataset.filter(where={"request_id": name})
    return [record["number"] for record in chosen], chosen.explain().opened


def pages(home: Path, other: Path) -> IndexPages:
    """Return the index pages of the mirrored log."""
    return IndexPages(index_directory(HomeDir(home), next(open_home(other).batches()).log))


def test_a_mirror_has_an_index(home, other):
    """A few batches are opened, as in the first home; with keys no index is believed, and the answer is the same."""
    list(open_home(home, must_exist=False).mirror([other], keys=[sample_homes.key_of(other)]))
    with open_home(home).dataset() as dataset:
        numbers, opened = found(dataset, "id-77")
        assert numbers == [77]
        assert opened < 4
    with open_home(home).dataset(keys=[sample_homes.key_of(other)]) as dataset:
        assert found(dataset, "id-77") == ([77], 30)
    shutil.rmtree(home / "imported-logs" / "index")
    with open_home(home).dataset() as dataset:
        assert found(dataset, "id-77") == ([77], 30)


def test_an_import_has_an_index(home, other, tmp_path):
    """As a mirror has one."""
    open_home(other).export_car(tmp_path / "log.car")
    open_home(home, must_exist=False).import_car(tmp_path / "log.car", keys=[sample_homes.key_of(other)])
    with open_home(home).dataset() as dataset:
        numbers, opened = found(dataset, "id-5")
    assert numbers == [5]
    assert opened < 4


def test_batches_that_come_later(home, other):
    """The page grows with the log; a batch without an entry is opened."""
    list(open_home(home, must_exist=False).mirror([other], keys=[sample_homes.key_of(other)]))
    indexed_homes.seal_records(
        other, [{"request_id": f"id-{number}", "number": number} for number in range(120, 160)], first=121, a_batch=4
    )
    list(open_home(home).mirror([other]))
    with open_home(home).dataset() as dataset:
        for number in (3, 119, 120, 159):
            numbers, opened = found(dataset, f"id-{number}")
            assert numbers == [number]
            assert opened < 5


def test_a_payload_that_comes_later(home, other, tmp_path):
    """Its batch has no filter until then, and is opened; afterwards it has one."""
    shutil.copytree(other, tmp_path / "less")
    sample_homes.strip(tmp_path / "less", 19, "logs")
    keys = [sample_homes.key_of(other)]
    assert [log.absent for log in open_home(home, must_exist=False).mirror([tmp_path / "less"], keys=keys)] == [1]
    gaps: list[object] = []
    with open_dataset(home, on_gap=gaps.append) as dataset:
        assert found(dataset, "id-77")[0] == []
    assert len(gaps) == 1
    assert [log.absent for log in open_home(home).mirror([other])] == [0]
    with open_home(home).dataset() as dataset:
        assert found(dataset, "id-77")[0] == [77]
        assert found(dataset, "no such id")[1] < 3


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "another log", "bits"])
def test_no_answer_depends_on_a_page(home, other, tmp_path, damage):
    """A page that is damaged, or of another log, rules nothing out."""
    list(open_home(home, must_exist=False).mirror([other], keys=[sample_homes.key_of(other)]))
    file = pages(home, other).where(0)
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:-3])
    elif damage == "bits":
        content[len(content) // 2] ^= 255
        file.write_bytes(content)
    else:
        fields = [{"request_id": f"other-{number}", "number": number} for number in range(120)]
        third = indexed_homes.seal_records(tmp_path / "third", fields, a_batch=4)
        shutil.copy(indexed_homes.index(third).where(0), file)
    for number in (0, 61, 119):
        with open_home(home).dataset() as dataset:
            assert found(dataset, f"id-{number}")[0] == [number]
    assert run("verify", "--no-memory", home=home).code == 0
