"""CAR files as a source: all batches in them are found, also those in packs, and damage of one hides no other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.api import Gap
from ipfs_log_handlers.home import packs
from tests.support import archives, sample_homes
from tests.support.packed_homes import pack_of


@pytest.fixture
def packed(home: Path, tmp_path: Path) -> Path:
    """Copy the batches of a home to a directory: four in a pack, the fifth in a file of its own."""
    sample_homes.make(home, 50)
    sample_homes.batches_of(home).pack(range(4))
    shutil.copytree(home / "audit" / "batches" / "000", tmp_path / "cars")
    return tmp_path / "cars"


def read(cars: Path, home: Path, **options: Any) -> tuple[list[int], list[Gap]]:
    """Return the numbers of the records, and the gaps."""
    gaps: list[Gap] = []
    with open_dataset(cars, keys=[sample_homes.key_of(home)], on_gap=gaps.append, **options) as dataset:
        return [record["number"] for record in dataset], gaps


@pytest.mark.parametrize("verify", ["batch", "chain"])
def test_all_batches_of_a_pack_are_read(packed: Path, home: Path, verify: str) -> None:
    """A pack has one root, but many batches, each with its own signed head."""
    assert read(packed, home, verify=verify) == ([*range(50)], [])
    assert read(packed / "pack-0.car", home, verify=verify) == ([*range(40)], [])
    with open_dataset(packed, keys=[sample_homes.key_of(home)]) as dataset:
        (report,) = dataset.verify(deep=True)
    assert (report.result, report.batches, report.records) == ("ok", 5, 50)


def test_a_damaged_manifest_in_a_pack_hides_no_other_batch(packed: Path, home: Path) -> None:
    """The batches before and after it are read, and the file is named."""
    place = packs.read(pack_of(sample_homes.batches_of(home))).batches[1]
    data = bytearray((packed / "pack-0.car").read_bytes())
    data[place.offset + 60] ^= 1
    (packed / "pack-0.car").write_bytes(data)
    numbers, gaps = read(packed, home)
    assert numbers == [*range(10), *range(20, 50)]
    assert {(gap.kind, gap.segment) for gap in gaps} == {("damaged", str(packed / "pack-0.car"))}


def test_a_pack_that_was_cut_is_read_up_to_there(packed: Path, home: Path) -> None:
    """A keeper that was killed while it added a batch leaves such a pack; what is missing is reported."""
    place = packs.read(pack_of(sample_homes.batches_of(home))).batches[3]
    data = (packed / "pack-0.car").read_bytes()
    (packed / "pack-0.car").write_bytes(data[: place.offset + 60])
    numbers, gaps = read(packed, home)
    assert numbers == [*range(30), *range(40, 50)]
    assert ["in the middle of a section" in gap.reason for gap in gaps] == [True]
    with open_dataset(packed, keys=[sample_homes.key_of(home)]) as dataset:
        results = {report.result for report in dataset.verify()}
    assert "ok" not in results


def test_an_archive_in_a_pack_is_read_from_its_file_beside(home: Path, tmp_path: Path) -> None:
    """The blocks of an archive stay in `<index>.payload.car` when its manifest moves into a pack."""
    sample_homes.make(home, 10)
    (tmp_path / "note").write_bytes(bytes(range(256)) * 8000)
    archives.archiver(home, "audit").put(tmp_path / "note", archives.facts)
    sample_homes.seal(home)
    sample_homes.batches_of(home).pack(range(2))
    with open_dataset(home / "audit" / "batches", keys=[sample_homes.key_of(home)]) as dataset:
        (report,) = dataset.verify(deep=True)
    assert (report.result, report.batches, report.records) == ("ok", 2, 10)
