"""A log with pruned batches is exported, imported and pinned: its manifests and acts go with it, and it verifies."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from ipfs_log_handlers import PrunedError, open_dataset, open_home
from ipfs_log_handlers.api import verify_sources
from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act
from tests.support import sample_homes


@pytest.fixture
def pruned(home: Path) -> Path:
    """Return a home with 5 batches of 10 records, of which the first two are pruned."""
    sample_homes.log(home, range(50))
    sample_homes.seal(home)
    _prune(home, 0, 1)
    return home


def _prune(home: Path, first: int, last: int) -> None:
    log_dir = LogDir.all_of(sample_homes.subsystem_dir(home))[0]
    record_act(
        HomeDir(home), "audit", acts.draw("prune", reason="old", batches=((str(log_dir.name()), ((first, last),)),))
    )
    for index in range(first, last + 1):
        log_dir.sealed_batches.strip(index)


def _read(source: str, **reading: object) -> tuple[list[int], list[tuple[str, int | None]]]:
    gaps: list[tuple[str, int | None]] = []
    with open_dataset(source, on_gap=lambda gap: gaps.append((gap.kind, gap.index)), **reading) as dataset:  # type: ignore[arg-type]
        return [record["number"] for record in dataset], gaps


class TestExport:
    def test_it_verifies_as_pruned(self, pruned: Path, tmp_path: Path) -> None:
        """All manifests and the act are in the file, the payloads are not, and each reader says so."""
        file = tmp_path / "log.car"
        made = open_home(pruned).export_car(file)
        (log,) = made.logs
        assert (log.batches, log.pruned) == (6, 2)
        key = sample_homes.key_of(pruned)
        assert _read(str(file), keys=[key]) == (list(range(20, 50)), [("pruned", 0), ("pruned", 1)])
        (report,) = verify_sources([str(file)], keys=[key], deep=True)
        assert (report.ok, report.batches, report.pruned, report.records) == (True, 6, 2, 50)

    def test_it_is_complete_for_other_tools(self, pruned: Path, tmp_path: Path) -> None:
        """Each link in the file leads to a block in the file; a pruned manifest is a raw block with the same hash."""
        file = tmp_path / "log.car"
        open_home(pruned).export_car(file)
        _, blocks = car.decode(file.read_bytes())
        manifests = list(LogDir.current_of(sample_homes.subsystem_dir(pruned)).manifests())
        cids = {cid for cid, _ in blocks}
        assert [manifest.cid.as_codec(RAW) in cids for manifest in manifests] == [True, True, *[False] * 4]
        assert [manifest.cid in cids for manifest in manifests] == [False, False, *[True] * 4]
        assert [manifest.payload in cids for manifest in manifests] == [False, False, *[True] * 4]

    def test_it_is_imported(self, pruned: Path, tmp_path: Path) -> None:
        """Another home takes it in, and shows the rest."""
        file = tmp_path / "log.car"
        open_home(pruned).export_car(file)
        other = open_home(tmp_path / "other", must_exist=False)
        (log,) = other.import_car(file, keys=[sample_homes.key_of(pruned)])
        assert (log.batches, log.records) == (6, 50)
        assert _read(str(other.path)) == (list(range(20, 50)), [("pruned", 0), ("pruned", 1)])

    def test_from_a_pruned_batch_on(self, pruned: Path, tmp_path: Path) -> None:
        """A part of a log has its pruned manifests among the roots."""
        file = tmp_path / "log.car"
        first = list(LogDir.current_of(sample_homes.subsystem_dir(pruned)).manifests())[1].last
        made = open_home(pruned).export_car(file, since=first / 1_000_000)
        assert [(log.first, log.batches, log.pruned) for log in made.logs] == [(1, 5, 1)]
        assert _read(str(file), keys=[sample_homes.key_of(pruned)]) == (list(range(20, 50)), [("pruned", 1)])

    def test_without_the_act_nothing_proves_it(self, pruned: Path, tmp_path: Path) -> None:
        """A file that would end before the act is not made; the error says how to make one."""
        second = list(LogDir.current_of(sample_homes.subsystem_dir(pruned)).manifests())[2]
        with pytest.raises(PrunedError, match="given up") as caught:
            open_home(pruned).export_car(tmp_path / "log.car", until=second.first / 1_000_000)
        assert "--until" in str(caught.value.hint)
        assert not (tmp_path / "log.car").exists()

    def test_a_file_that_only_says_so_is_refused(self, home: Path, tmp_path: Path) -> None:
        """A manifest as a raw block proves nothing: without an act, its payload is missing."""
        from ipfs_log_handlers.sharing import car_export

        sample_homes.log(home, range(30))
        sample_homes.seal(home)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(car_export, "_given_up", lambda *_: frozenset({0}))
            open_home(home).export_car(tmp_path / "log.car")
        (report,) = verify_sources([str(tmp_path / "log.car")])
        assert (report.ok, report.pruned, report.result) == (False, 0, "incomplete")
        other = open_home(tmp_path / "other", must_exist=False)
        with pytest.raises(VerificationError, match="differs from its signed state"):
            other.import_car(tmp_path / "log.car", keys=[sample_homes.key_of(home)])


def test_a_former_log_whose_act_is_in_the_next_one(home: Path, tmp_path: Path) -> None:
    """Both are in the file, so that the act is, too; also where the key was changed in between."""
    sample_homes.log(home, range(30))
    sample_homes.seal(home)
    trusted = [sample_homes.key_of(home)]
    open_home(home).rotate_key()
    sample_homes.log(home, range(30, 40))
    sample_homes.seal(home)
    _prune(home, 0, 1)
    file = tmp_path / "log.car"
    made = open_home(home).export_car(file)
    assert sorted((log.batches, log.pruned) for log in made.logs) == [(2, 0), (3, 2)]
    reports = list(verify_sources([str(file)], keys=[*trusted, sample_homes.key_of(home)], deep=True))
    assert sorted((report.ok, report.pruned) for report in reports) == [(True, 0), (True, 2)]


def _imported(url: str, data: bytes) -> bytes:
    """Let a daemon import a CAR file, and pin its roots; return its answer."""
    head = b'--part\r\nContent-Disposition: form-data; name="file"; filename="log.car"\r\n\r\n'
    request = urllib.request.Request(
        f"{url}/api/v0/dag/import?pin-roots=true&timeout=30s",
        data=head + data + b"\r\n--part--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=part"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def test_a_real_kubo_pins_the_snapshot_and_imports_the_file(home: Path, tmp_path: Path, kubo_daemon) -> None:
    """The daemon holds all that is left after its collection, and another daemon copies it by the one CID."""
    daemon = kubo_daemon()
    sample_homes.log(home, range(50), kubo=daemon.url)
    sample_homes.ship(home, daemon.url)
    (result,) = open_home(home).apply_retention(keep="0d", reason="old", stores=[daemon.url])
    assert result.batches > 0
    sample_homes.ship(home, daemon.url)
    daemon.rpc("repo/gc")
    (made,) = open_home(home).snapshot(stores=[daemon.url])
    assert (made.pruned, made.stores, dict(made.problems)) == (result.batches, (daemon.url,), {})
    daemon.rpc("repo/gc")
    key = sample_homes.key_of(home)
    (report,) = verify_sources([made.cid], keys=[key], kubo=daemon.url, deep=True)
    assert (report.ok, report.pruned, report.records) == (True, result.batches, 50)

    file = tmp_path / "log.car"
    (log,) = open_home(home).export_car(file, stores=[daemon.url]).logs
    assert (log.cid, log.pruned) == (made.cid, made.pruned)
    other = kubo_daemon()
    assert b'"PinErrorMsg":""' in _imported(other.url, file.read_bytes())
    assert made.cid in other.pins()
    manifest = next(iter(LogDir.current_of(sample_homes.subsystem_dir(home)).manifests()))
    assert other.rpc(f"block/get?arg={manifest.cid.as_codec(DAG_CBOR)}&offline=true") == manifest.encode()
    (report,) = verify_sources([made.cid], keys=[key], kubo=other.url, deep=True)
    assert (report.ok, report.pruned) == (True, result.batches)
