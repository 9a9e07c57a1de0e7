"""The catalogue of a log: what `ls` says of very many batches, without a look at their manifests."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.catalogue import Catalogue
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.policy import Policy, store_policy
from ipfs_log_handlers.keeper.upkeep import Upkeep
from ipfs_log_handlers.monitoring import batches as listing
from tests.support import page_tools
from tests.support.logging_home import settings
from tests.support.many_batches import files_looked_at, seal_batches
from tests.support.mutations import cuts, flips

STORE = "http://127.0.0.1:5001"


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make groups of four batches."""
    for module in ("ipfs_log_handlers.home.catalogue", "ipfs_log_handlers.keeper.upkeep", listing.__name__):
        monkeypatch.setattr(f"{module}.GROUP", 4)


@pytest.fixture
def logs(home: Path) -> SubsystemDir:
    """Make a subsystem with ten batches of one record: two groups, and two batches more."""
    subsystem_dir = seal_batches(home, 10)
    list(Upkeep(subsystem_dir).steps())
    return subsystem_dir


def catalogue_of(subsystem_dir: SubsystemDir) -> Catalogue:
    """Return the catalogue of the current log."""
    return Catalogue(subsystem_dir.current.batches)


def listed(home: Path) -> tuple[list[dict[str, object]], set[str]]:
    """Return what `ls` lists, and which batch files it looked at."""
    with files_looked_at() as paths:
        lines = b"".join(open_home(home).batch_lines())
    return [json.loads(line) for line in lines.splitlines()], {
        Path(path).name for path in paths if path.endswith(".car")
    }


def expected(home: Path) -> list[dict[str, object]]:
    """Return what is listed without a catalogue."""
    path = home / "logs" / "batches" / "catalogue"
    kept = path.rename(path.with_name("kept"))
    try:
        return [batch.as_json() for batch in open_home(home).batches()]
    finally:
        kept.rename(path)


def confirm(subsystem_dir: SubsystemDir, confirmed: list[int], bad: tuple[int, ...] = ()) -> None:
    """Have a store confirm batches, and set others aside."""
    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    state = DeliveryState(log=log, address=STORE).confirm(confirmed)
    for index in bad:
        state = state.set_aside(index, "bad")
    delivery_state.store(subsystem_dir.current.shipped, "s", state)
    policy = Policy.of(settings(subsystem_dir.path.parent, kubo=(STORE,)), subsystems.get("logs"))
    store_policy(subsystem_dir.settings, policy)


def test_only_batches_after_the_last_whole_group_are_opened(home: Path, logs: SubsystemDir) -> None:
    """What is listed is the same with and without a catalogue; with it, two of ten manifests are read."""
    found, opened = listed(home)
    assert expected(home) == found
    assert {"000008.car", "000009.car"} == opened


@pytest.mark.parametrize(
    ("confirmed", "bad"), [([], ()), ([*range(10)], ()), ([*range(6), 7], ()), ([0, 2, 3, 4], (1, 5))]
)
def test_the_state_is_that_of_the_delivery_states(
    home: Path, logs: SubsystemDir, confirmed: list[int], bad: tuple[int, ...]
) -> None:
    """Whichever batches stores have confirmed or set aside, each has the state that it has now."""
    confirm(logs, confirmed, bad)
    found, _ = listed(home)
    assert expected(home) == found
    assert confirmed == [index for index, batch in enumerate(found) if batch["state"] == "shipped"]


def test_a_batch_that_could_not_be_read_is_looked_at_each_time(home: Path) -> None:
    """A damaged batch has no line: `ls` says what is wrong with it, and lists it again once it is repaired."""
    subsystem_dir = seal_batches(home, 4)
    path = Batches(subsystem_dir.current.batches).file(2)
    whole = path.read_bytes()
    path.write_bytes(b"damaged")
    list(Upkeep(subsystem_dir).steps())
    damaged: list[Exception] = []
    lines = b"".join(open_home(home).batch_lines(on_damage=damaged.append))
    assert [0, 1, 3] == [json.loads(line)["index"] for line in lines.splitlines()]
    assert len(damaged) == 1
    path.write_bytes(whole)
    assert [0, 1, 2, 3] == [batch.index for batch in open_home(home).batches()]


@pytest.mark.slow
def test_damage_costs_time_and_no_line(home: Path, logs: SubsystemDir) -> None:
    """Cut anywhere or with a bit flipped, the catalogue is believed up to the damage, and manifests say the rest."""
    path = catalogue_of(logs).path
    data, whole = path.read_bytes(), expected(home)
    for mutant in [*list(cuts(data))[::37], *list(flips(data))[::113]]:
        path.write_bytes(mutant)
        assert whole == listed(home)[0]


def test_upkeep_goes_on_after_the_last_whole_frame(home: Path, logs: SubsystemDir) -> None:
    """What a keeper that was killed left of a frame is written over; a frame is never written twice."""
    path = catalogue_of(logs).path
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    list(Upkeep(logs).steps())
    assert data == path.read_bytes()
    upkeep = Upkeep(logs)
    list(upkeep.steps())
    assert data == path.read_bytes()
    seal_batches(home, 2, first=11)
    list(upkeep.steps())
    assert (3, path.stat().st_size) == catalogue_of(logs).count()


def test_a_catalogue_of_another_home_cannot_reach_the_terminal(home: Path, logs: SubsystemDir) -> None:
    """Lines with control characters, or that are no batch, are not what a keeper wrote: manifests are read instead."""
    whole = expected(home)
    path = catalogue_of(logs).path
    path.unlink()
    catalogue_of(logs).append(0, 0, [b'{"x":"\x1b[2J"}'] * 4)
    assert whole == listed(home)[0]
    path.unlink()
    catalogue_of(logs).append(0, 0, [b"{}"] * 4)
    damaged: list[Exception] = []
    assert [4, 5, 6, 7, 8, 9] == [batch.index for batch in open_home(home).batches(on_damage=damaged.append)]
    assert len(damaged) == 4


def test_zstd_prints_the_lines(logs: SubsystemDir) -> None:
    """Public tools read the file: `zstd -d -q < batches/catalogue`."""
    command = shutil.which("zstd") or str(page_tools.directory() / "zstd")
    with catalogue_of(logs).path.open("rb") as stream:
        lines = subprocess.run([command, "-d", "-q"], stdin=stream, check=True, capture_output=True).stdout
    assert list(range(8)) == [json.loads(line)["index"] for line in lines.splitlines()]
