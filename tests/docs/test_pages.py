"""The pages of the project: each block runs and prints what the page shows, and each link leads to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OTHER_PAGES = [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
"""Pages whose blocks are not run."""
HELP_TEXTS = sorted((ROOT / "tests" / "cli" / "help").iterdir())


def _place(page: Path) -> str:
    """Return the path of a page below the root of the repository."""
    return str(page.relative_to(ROOT))


def _needs_daemon(page: Path) -> bool:
    """Return whether some blocks of a page need a daemon."""
    return any(block.needs_daemon for block in pages.blocks(page))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=_place)
def test_each_block_prints_what_the_page_shows(page, tmp_path):
    """Each console and python block of README.md and docs/ runs, and prints what stands below it."""
    pages.run(page, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _needs_daemon(page)], ids=_place)
def test_each_block_with_a_daemon_prints_what_the_page_shows(page, tmp_path, kubo):
    """The same with a real Kubo daemon, for the pages that need one."""
    pages.run(page, tmp_path, kubo)


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=_place)
def test_each_relative_link_leads_to_a_file(page):
    """Each relative link of a page leads to a file that exists, and its anchor to a heading there."""
    links = re.findall(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    targets = [((page.parent / path).resolve() if path else page, anchor) for path, anchor in links]

    assert [] == [target for target, _ in targets if not target.exists()]
    assert [] == [(target.name, anchor) for target, anchor in targets if anchor and anchor not in _anchors(target)]


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ +(.*?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


OLD_WORDS = r"\b(?:whoever|luggage|occupants?|NoGuest|StoreRefused|untold|manieth)\b"
"""Words of a former, private vocabulary. None of them has a place in plain prose about logs."""


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES, *HELP_TEXTS], ids=_place)
def test_a_page_uses_the_words_of_the_glossary(page):
    """No page and no help text has a word that the glossary has replaced; code spans and quotes are left out."""
    prose = re.sub(r"`[^`]*`|\"[^\"]*\"", "", page.read_text(encoding="utf-8"))

    assert [] == re.findall(OLD_WORDS, prose, re.IGNORECASE)


class TestPageRunner:
    """`pages.run` itself: it accepts a true page and refuses a false one."""

    def test_an_ellipsis_matches_any_text(self):
        """`…` takes anything within a line, and alone on a line any lines."""
        assert pages.agrees("cid bafy… ok\n…\nend", "cid bafyabc ok\nx\ny\nend\n")
        assert pages.agrees("cid bafy… ok\n…\nend", "cid bafyabc ok\nend\n")
        assert not pages.agrees("cid bafy… ok", "cid bafyabc ok\nmore\n")
        assert not pages.agrees("", "something\n")

    def test_a_page_with_wrong_output_fails(self, tmp_path):
        """A block whose output differs from the page fails with its line number and both texts."""
        page = tmp_path / "page.md"
        page.write_text("# A\n\n```console\n$ echo one\ntwo\n```\n")

        with pytest.raises(AssertionError, match=r"page\.md:3: echo one printed"):
            pages.run(page, tmp_path)

    def test_a_page_with_the_right_output_passes(self, tmp_path):
        """Commands see the files of the page, programs print what the text block says, and `not run` is left alone."""
        page = tmp_path / "page.md"
        page.write_text(
            "<!-- file: app.py -->\n```python\nprint('hello')\n```\n"
            "```console\n$ python app.py\nhello\n$ echo a \\\n>   b\na b\n$ x=1\n$ echo $x\n1\n```\n"
            "```python\nprint(1)\n```\n\n```text\n1\n```\n"
            "<!-- not run: it would never end -->\n```console\n$ sleep infinity\n```\n"
        )

        assert 2 == pages.run(page, tmp_path)

    def test_a_shell_block_is_refused(self, tmp_path):
        """A ```sh block, which nobody would run, is refused."""
        page = tmp_path / "page.md"
        page.write_text("```sh\nls\n```\n")

        with pytest.raises(AssertionError, match="write ```console"):
            pages.run(page, tmp_path)
