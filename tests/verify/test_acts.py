"""`verify` reads every act: one that lies about the act before it, or cannot be read, is found in any source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.api import verify_sources
from ipfs_log_handlers.format.act import EXT_KEY, Act
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.keeper.log_writer import LogWriter
from tests.support import sample_homes


def claim(monkeypatch: pytest.MonkeyPatch, **claims: Any) -> None:
    """Let the keeper sign acts with these members."""

    def encode(act: Act, before: int | None, real: Any = Act.encode) -> dict[str, Any]:
        return {**real(act, before), **claims}

    monkeypatch.setattr(Act, "encode", encode)


def problems(home: Any) -> list[Sequence[Any]]:
    """Verify the home and an exported CAR file of it; return the problems, which must be the same."""
    file = home.parent / "log.car"
    open_home(home).export_car(file)
    (here,), (there,) = list(open_home(home).verify()), list(verify_sources([str(file)]))
    found: list[Sequence[Any]] = [(problem.batch, problem.field) for problem in here.problems]
    assert found == [(problem.batch, problem.field) for problem in there.problems]
    assert ("tampered" if found else "ok") == here.result == there.result
    return found


def seal_hold(home: Any) -> None:
    """Seal a hold as it is."""
    acts.put(sample_homes.subsystem_dir(home), acts.draw("hold", reason="lawsuit"))
    sample_homes.seal(home)


def test_acts_that_name_the_one_before_them_verify(home):
    """The first names none."""
    sample_homes.make(home, 10)
    for _ in range(3):
        seal_hold(home)

    assert [] == problems(home)


@pytest.mark.parametrize("before", [None, 0, 7])
def test_an_act_that_passes_over_another_is_found(home, monkeypatch, before):
    """A reader that follows the acts backwards would not see the one that is passed over."""
    sample_homes.make(home, 10)
    seal_hold(home)
    with monkeypatch.context() as lying:
        lying.setattr(LogWriter, "newest_act", lambda _: -1 if before is None else before)
        seal_hold(home)

    assert [(2, "act.before")] == problems(home)


def test_an_act_that_cannot_be_read_is_found(home, monkeypatch):
    """A kind that this release does not know may give up anything."""
    sample_homes.make(home, 10)
    act = acts.draw("hold", reason="lawsuit")
    acts.put(sample_homes.subsystem_dir(home), act)
    claim(monkeypatch, act="burn")
    sample_homes.seal(home)

    (batch, _) = problems(home)[0]
    assert (1, "burn") == (batch, sample_homes.batches_of(home).facts(1).manifest.ext[EXT_KEY]["act"])
