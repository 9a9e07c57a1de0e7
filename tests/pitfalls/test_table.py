"""The page of pitfalls and the suite tell the same."""

from __future__ import annotations

import pytest

from tests.pitfalls import table

ALL = range(1, 46)


def test_each_pitfall_has_a_test():
    """Every number from 1 to 45 stands on the page, and names tests that are there."""
    rows = table.read()
    assert list(ALL) == list(rows)
    assert [] == [number for number, names in rows.items() if not names]
    named = {name for names in rows.values() for name in names}
    known = {name for file in {each.partition("::")[0] for each in named} for name, _ in table.tests_of(file)}
    assert named - known == set()


FILES = sorted({name.partition("::")[0] for names in table.read().values() for name in names})


@pytest.mark.parametrize("file", FILES)
def test_what_a_test_claims_is_on_the_page(file):
    """A test that says which pitfalls it is about is named on the page for no other; those here for each."""
    rows = table.read()
    for name, claim in table.tests_of(file):
        on_page = {number for number, names in rows.items() if name in names}
        said = table.claimed(claim)
        assert said <= set(ALL), name
        assert not said or on_page <= said, f"{name} says {said}, the page {on_page}"
        assert not file.startswith("pitfalls/") or said == on_page, f"{name} says {said}, the page {on_page}"
