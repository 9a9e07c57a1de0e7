"""Each promise of docs/security.md names the tests that hold it, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import cited_tests

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_cited_test_exists():
    """Each cited test exists, in the file that the page names."""
    assert [] == cited_tests.missing(TEXT)
    assert [] == cited_tests.without_file(TEXT)


def test_every_section_cites_tests():
    """No section promises anything without a test that shows it."""
    sections = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    assert [] == [section.splitlines()[0] for section in sections if not cited_tests.cited(section)]
