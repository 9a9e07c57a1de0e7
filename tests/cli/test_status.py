"""`ipfs-logs status`: counters, heads and errors of each subsystem."""

from __future__ import annotations

from dataclasses import replace

from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.delivery_state import LastError
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run


def test_each_subsystem_is_one_object_and_one_row(two):
    """One object a subsystem; as text, columns and who keeps the home."""
    found = run("status", home=two)
    assert found.code == 0
    assert [(each["subsystem"], each["durable"], each["sealed"]) for each in found.objects] == [
        ("audit", 25, 25), ("wal", 3, 3),
    ]  # fmt: skip
    text = run("status", "-o", "text", home=two).out
    assert text.splitlines()[0].split()[:4] == ["SUBSYSTEM", "DURABLE", "SEALED", "SHIPPED"]
    assert "keeper: none is running" in text


def test_an_error_of_several_subsystems_is_shown_once_with_the_next_try(two):
    """Subsystems with the same trouble at the same store share a line; the next try is a time to come, or an event."""
    told = "http://127.0.0.1:9: nobody listens there (connection refused)"
    assert run("ship", "--kubo", "http://127.0.0.1:9", "--timeout", "0", home=two).code == 4
    *_, keeper, audit, wal, line = run("status", "-o", "text", home=two).out.splitlines()
    assert keeper == "keeper: none is running"
    heads = [each["head"] for each in run("status", home=two).objects]
    assert [audit, wal] == [f"audit: head {heads[0]}", f"wal: head {heads[1]}"]
    assert line == f"audit, wal: {told}; tried again by the next `ipfs-logs ship`, or when the program starts again"

    for at, shown in ((0.0, "tried again just now"), (4_000_000_000.5, "next try 2096-10-02T07:06:40Z")):
        for name in ("audit", "wal"):
            trouble = LastError("unreachable", told, 0.0, at)
            marks = sample_homes.subsystem_dir(two, name).current.shipped
            for store, mark in delivery_state.load_all(marks).items():
                delivery_state.store(marks, store, replace(mark, last_error=trouble))
        held = lock.take(HomeDir(two))
        assert held is not None
        try:
            line = run("status", "-o", "text", home=two).out.splitlines()[-1]
        finally:
            held.release()
        assert line == f"audit, wal: {told}; {shown}"
