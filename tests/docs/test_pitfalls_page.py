"""docs/pitfalls.md: each pitfall cites tests that exist, and each test claims the pitfalls that the page gives it."""

from __future__ import annotations

import pytest

from tests.support import cited_tests, pitfall_table

PAGE = pitfall_table.PAGE.read_text(encoding="utf-8")
ROWS = pitfall_table.read()
FILES = sorted({name.partition("::")[0] for names in ROWS.values() for name in names})


def test_each_pitfall_cites_a_test():
    """The pitfalls are numbered from 1 on without a gap, and each cites at least one test."""
    assert list(range(1, len(ROWS) + 1)) == sorted(ROWS)
    assert len(ROWS) >= 45
    assert [] == [number for number, names in ROWS.items() if not names]


def test_each_cited_test_exists():
    """Each test that the page cites exists in the file that the page names, and no test is cited without its file."""
    assert [] == cited_tests.missing(PAGE)
    assert [] == cited_tests.without_file(PAGE)


@pytest.mark.parametrize("file", FILES)
def test_docstrings_claim_what_the_page_says(file):
    """A test whose docstring names pitfalls is cited for these alone; a test in tests/pitfalls/ for each of them."""
    for name, docstring in cited_tests.tests_in(file):
        on_page = {number for number, names in ROWS.items() if name in names}
        claimed = pitfall_table.claimed_pitfalls(docstring)
        assert claimed <= ROWS.keys(), name
        problem = f"{name} claims {claimed}, the page says {on_page}"
        assert not claimed or on_page <= claimed, problem
        assert not file.startswith("pitfalls/") or claimed == on_page, problem
