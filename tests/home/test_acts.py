"""Acts on the disk: those that wait, those in batches, and which holds stand."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ipfs_log_handlers import HeldError
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import acts, head
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act
from tests.support import sample_homes


def hold(home, **members):
    """Record a hold of audit; return its id."""
    return record_act(HomeDir(home), "audit", acts.draw("hold", reason="lawsuit", **members)).act.id


def release(home, hold_id):
    """Release a hold of audit."""
    record_act(HomeDir(home), "audit", acts.draw("release", reason="done", holds=(hold_id,)))


def standing(home):
    """Return the ids of the holds that stand."""
    return [each.id for each in acts.holds_of(sample_homes.subsystem_dir(home))]


def test_a_hold_stands_from_its_file_on_and_a_release_from_its_batch_on(home):
    """What waits for its batch counts on the side of what is held."""
    sample_homes.make(home, 10)
    directory = sample_homes.subsystem_dir(home)
    waiting = acts.draw("hold", reason="lawsuit", since=7)
    acts.put(directory, waiting)

    (stands,) = acts.holds_of(directory)
    assert (waiting.id, 7, None, None) == (stands.id, stands.since, stands.log, stands.index)

    acts.put(directory, acts.draw("release", reason="done", holds=(waiting.id,)))
    assert [waiting.id] == standing(home)
    sample_homes.seal(home)
    assert [] == standing(home)
    assert [] == acts.pending(directory)
    assert ["hold", "release"] == [each.act.act for each in acts.acts_of(LogDir.current_of(directory))]


def test_holds_of_logs_that_have_ended_stand(home):
    """A hold of a former log is released by an act in the next one, and not before."""
    sample_homes.make(home, 10)
    first = hold(home)
    sample_homes.end(home)
    assert [first] == standing(home)
    second = hold(home)
    assert [first, second] == standing(home)
    release(home, first)
    assert [second] == standing(home)
    assert [("hold", 0), ("release", 1)] == [
        (each.act.act, each.index) for each in acts.acts_of(LogDir.current_of(sample_homes.subsystem_dir(home)))
    ]


def test_without_a_head_that_knows_them_acts_are_found_in_the_manifests(home):
    """A head that a repair made does not name them: then every manifest is read, and the next batch knows them."""
    sample_homes.make(home, 30)
    first = hold(home)
    sample_homes.make(home, 10)
    path = sample_homes.subsystem_dir(home).current.head
    state = head.load(path)
    assert state is not None
    assert 3 == state.act
    head.store(path, replace(state, act=head.ACT_UNKNOWN))
    assert [first] == standing(home)

    sample_homes.make(home, 10)
    state = head.load(path)
    assert state is not None
    assert 3 == state.act
    path.unlink()
    assert [first] == standing(home)


def test_a_home_without_acts_reads_no_manifest_for_them(home, monkeypatch):
    """The head says that there is none."""
    sample_homes.make(home, 30)
    monkeypatch.setattr("ipfs_log_handlers.home.batch_reader.BatchReader.facts", None)
    monkeypatch.setattr("ipfs_log_handlers.home.batch_reader.BatchReader.manifest", None)

    assert [] == standing(home)


def test_a_damaged_batch_with_an_act_is_no_missing_hold(home):
    """Where it is not known what is held, that is an error, and not an empty list."""
    sample_homes.make(home, 10)
    hold(home)
    sample_homes.make(home, 10)
    sample_homes.cut_off(home, 1)

    with pytest.raises(FormatError):
        standing(home)
    (subsystem,) = sample_homes.status(home)
    assert [] == subsystem["holds"]
    assert "not known what is held" in subsystem["warnings"][0]


@pytest.mark.parametrize("content", [b"", b"00000000 {}\n", b"\xff" * 300])
def test_a_damaged_act_that_waits_is_kept_aside(home, content):
    """The keeper moves it to the quarantine, and seals those behind it; until then nothing counts as free."""
    sample_homes.make(home, 10)
    directory = sample_homes.subsystem_dir(home)
    damaged = acts.draw("hold", reason="damaged")
    acts.put(directory, damaged)
    (directory.acts / damaged.id).write_bytes(content)
    with pytest.raises(FormatError):
        standing(home)

    second = hold(home)

    assert [second] == standing(home)
    assert content == (directory.quarantine / f"act-{damaged.id}").read_bytes()
    sample_homes.seal(home)


def test_what_a_killed_process_left_is_removed_after_an_hour(home):
    """A younger file may be one that a live process writes just now."""
    sample_homes.make(home, 10)
    hold(home)
    directory = sample_homes.subsystem_dir(home).acts
    young, old = directory / "a.1.tmp", directory / "b.2.tmp"
    for path in (young, old):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    sample_homes.seal(home)

    assert [young] == list(directory.iterdir())


def test_an_act_under_the_name_of_another_is_damaged(home):
    """The name of the file is its id."""
    sample_homes.make(home, 10)
    directory = sample_homes.subsystem_dir(home)
    act = acts.draw("hold", reason="lawsuit")
    acts.put(directory, act)
    (directory.acts / act.id).rename(directory.acts / ("0" * 16))

    with pytest.raises(FormatError, match="wrong name"):
        standing(home)


@pytest.mark.parametrize(
    ("since", "until", "first", "last", "covered"),
    [
        (None, None, 5, 6, True),
        (6, None, 5, 6, True),
        (7, None, 5, 6, False),
        (None, 5, 5, 6, True),
        (None, 4, 5, 6, False),
        (5, 5, 0, 10, True),
    ],
)
def test_a_hold_covers_what_may_have_a_held_record(home, since, until, first, last, covered):
    """Both bounds count as held; `refuse_under_hold` asks the same."""
    sample_homes.make(home, 1)
    directory = sample_homes.subsystem_dir(home)
    acts.put(directory, acts.draw("hold", reason="lawsuit", since=since, until=until))
    (stands,) = acts.holds_of(directory)

    assert covered == stands.covers(first, last)
    if covered:
        with pytest.raises(HeldError, match=rf"^audit: a shred is refused: .*hold {stands.id}: lawsuit.*release audit"):
            acts.refuse_under_hold(directory, "a shred", first=first, last=last)
    else:
        acts.refuse_under_hold(directory, "a shred", first=first, last=last)


def test_find_an_act_by_its_id(home):
    """In any log of the subsystem."""
    sample_homes.make(home, 10)
    first = hold(home)
    sample_homes.end(home)
    hold(home)
    directory = sample_homes.subsystem_dir(home)

    found = acts.find(directory, first)
    assert found is not None
    assert (1, "hold", "former") == (found.index, found.act.act, LogDir.all_of(directory)[0].path.parent.name)
    assert acts.find(directory, "0" * 16) is None
