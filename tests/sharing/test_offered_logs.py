"""What a source of a mirror gives of a batch that is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.sharing.offered_logs import OfferedLog, offered_by_cars, offered_by_home
from ipfs_log_handlers.stores import MissingBlockError
from tests.support import sample_homes


def offered(home: Path, kind: str, tmp_path: Path) -> OfferedLog:
    """Open the only log of a home, or of its export."""
    keys = [VerifierKey.parse(sample_homes.key_of(home))]
    if kind == "home":
        ((_, ask),) = offered_by_home(HomeDir(home), keys, Fetcher(), [])
    else:
        open_home(home).export_car(tmp_path / "log.car")
        ((_, ask),) = offered_by_cars(CarSource([tmp_path / "log.car"], lambda _: None), keys, [])
    return ask()


@pytest.mark.parametrize("kind", ["home", "cars"])
def test_a_batch_is_the_one_with_this_manifest(home, tmp_path, kind):
    """Another manifest of the same number is refused: its payload would be another one."""
    sample_homes.make(home, 30)
    log = offered(home, kind, tmp_path)
    known = sample_homes.batches_of(home).facts(1)
    assert log.part(known.cid, known.manifest.encode()).cid == known.cid
    other = replace(known.manifest, last=known.manifest.last + 1).encode()
    with pytest.raises(VerificationError, match="two histories"):
        log.part(Cid.of(DAG_CBOR, other), other)


def test_a_batch_that_is_not_in_the_files(home, tmp_path):
    """Another file may have it."""
    sample_homes.make(home, 20)
    log = offered(home, "cars", tmp_path)
    sample_homes.make(home, 10)
    newest = sample_homes.batches_of(home).facts(2)
    with pytest.raises(MissingBlockError, match="not in the files"):
        log.part(newest.cid, newest.manifest.encode())
