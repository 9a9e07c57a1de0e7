"""A home whose key was changed: what is remembered of its logs, what is proved, and what a mirror takes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import VerificationError, check, open_dataset, open_home
from ipfs_log_handlers.testing import FakeKubo
from tests.support import sample_homes
from tests.support.cli import run


@pytest.fixture
def daemon() -> Iterator[FakeKubo]:
    """Give a fake daemon."""
    with FakeKubo() as running:
        yield running


class Rotated:
    """A published home whose key was changed after three batches, and that went on for one."""

    def __init__(self, home: Path, daemon: FakeKubo, memory: Path) -> None:
        self.home, self.daemon, self.memory = home, daemon, memory
        self.go_on(20)
        self.old = sample_homes.key_of(home)
        key = open_home(home).public_key()
        assert key is not None
        self.name = f"/ipns/{key.ipns}"

    def go_on(self, count: int) -> None:
        """Log, ship and publish."""
        sample_homes.log(self.home, range(count), kubo=self.daemon.url)
        sample_homes.ship(self.home, self.daemon.url)
        sample_homes.publish(self.home, self.daemon.url)

    def rotate(self) -> None:
        """Change the key, and go on."""
        open_home(self.home).rotate_key()
        self.new = sample_homes.key_of(self.home)
        self.go_on(10)

    def verified(self, *keys: str) -> tuple[int, list[tuple[str, int | None]]]:
        """Verify the name; return the exit code, and the result and the remembered size of each log."""
        given = [part for key in keys for part in ("--key", key)]
        ended = run("verify", "--source", self.name, "--kubo", self.daemon.url, "--memory", self.memory, *given)
        self.out = ended.out
        return ended.code, [(report["result"], report["remembered"]) for report in ended.objects]


@pytest.fixture
def rotated(home: Path, daemon: FakeKubo, tmp_path: Path) -> Rotated:
    """Return such a home before the change."""
    return Rotated(home, daemon, tmp_path / "memory")


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 10])
def test_remembered_heads_by_a_name(rotated, more):
    """The old key is pinned: the new one is named and not trusted; then the new log ends the old one for the memory."""
    assert rotated.verified(rotated.old) == (0, [("ok", None)])
    if more:
        rotated.go_on(more)  # batches that this reader never saw
    rotated.rotate()
    for keys in ((), (rotated.old,)):
        assert rotated.verified(*keys)[0] == 3
        assert f"has named another key as the next one, {rotated.new}" in rotated.out
    assert rotated.verified(rotated.new) == (0, [("ok", None)])
    assert rotated.verified(rotated.new, rotated.old) == (0, [("ok", 1)])


def test_remembered_heads_of_the_home(rotated):
    """Both logs are compared with their heads; the ended one may not grow, and may not go."""
    for code, remembered in ((0, [None]), (0, [2])):
        ended = run("verify", "--memory", rotated.memory, home=rotated.home)
        assert (ended.code, [report["remembered"] for report in ended.objects]) == (code, remembered)
    rotated.rotate()
    for number in (None, 1):
        ended = run("verify", "--memory", rotated.memory, home=rotated.home)
        assert (ended.code, [report["remembered"] for report in ended.objects]) == (0, [2, number])


def test_proofs(rotated):
    """A record is proved with the key of its log, whichever key the dataset trusts; the other key refuses it."""
    rotated.rotate()
    for keys in ([], [rotated.new], [rotated.old, rotated.new]):
        with open_dataset(rotated.home, keys=keys) as dataset:
            records = list(dataset)
            first, last = dataset.prove(records[0]), dataset.prove(records[-1])
        assert check(first, rotated.old).record["number"] == 0
        assert check(last, rotated.new).record["number"] == 9
        for bundle, key in ((first, rotated.new), (last, rotated.old)):
            with pytest.raises(VerificationError, match="no trusted key has signed the log"):
                check(bundle, key)
    with pytest.raises(VerificationError, match="has named another key"):
        open_dataset(rotated.home, keys=[rotated.old])


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 10])
def test_a_mirror(rotated, tmp_path, more):
    """It stops at the change, names the new key, and goes on with it; batches that it missed are told."""
    copy = open_home(tmp_path / "copy", must_exist=False)

    def mirror(*keys: str) -> list[tuple[str, int]]:
        found = list(copy.mirror([rotated.name], keys=keys, kubo=rotated.daemon.url))
        self_told.extend(str(each.problem) for each in found)
        return [(each.result, each.batches) for each in found]

    self_told: list[str] = []
    assert mirror(rotated.old) == [("ok", 2)]
    if more:
        rotated.go_on(more)
    rotated.rotate()
    assert mirror() == [("tampered", 0)]
    assert f"has named another key as the next one, {rotated.new}" in self_told[-1]
    assert mirror(rotated.new) == [("ok", 1), *([("incomplete", 2)] if more else [])]
    assert mirror() == [("ok", 1), *([("incomplete", 2)] if more else [])]
    if more:
        (found,) = [each for each in copy.mirror([rotated.home]) if each.batches == 3]
        assert (found.result, found.new_batches) == ("ok", 1)
    with open_dataset(copy) as dataset:
        assert dataset.count() == 30 + more
