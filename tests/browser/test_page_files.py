"""The files of the page: vendored ones are unchanged, none has inline script or style, none makes HTML of text."""

from __future__ import annotations

import configparser
import hashlib
import re
from pathlib import Path

import pytest

import ipfs_log_handlers
from tests.support.programs import ROOT

PAGE = Path(ipfs_log_handlers.__file__).parent / "server" / "page"
OWN = sorted(path for path in PAGE.iterdir() if not path.name.startswith("uPlot"))
SCRIPTS = [path for path in OWN if path.suffix == ".js"]


def test_the_vendored_files_are_unchanged() -> None:
    """Each file of uPlot has the SHA-256 that is written down beside it, and its licence is there."""
    lines = (PAGE / "uPlot.SHA256SUMS").read_text().splitlines()
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in PAGE.glob("uPlot.*")}
    del found["uPlot.SHA256SUMS"]

    assert written == found
    assert {"uPlot.LICENSE", "uPlot.iife.min.js", "uPlot.min.css"} == set(found)
    assert "MIT License" in (PAGE / "uPlot.LICENSE").read_text()
    assert "v1.6.32" in (PAGE / "uPlot.iife.min.js").read_text()


def test_the_page_is_part_of_the_package() -> None:
    """setup.cfg puts the files of the page into the wheel."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")

    assert "server/page/*" in settings["options.package_data"]["ipfs_log_handlers"].split()
    assert [] == [path for path in PAGE.iterdir() if path.is_dir()]


def test_index_html_has_no_inline_script_or_style_and_names_only_files_that_are_there() -> None:
    """All script and style is in files of this directory, so that a strict policy holds."""
    text = (PAGE / "index.html").read_text()
    named = re.findall(r'(?:src|href)="(?!#)([^"]+)"', text)

    assert [] == re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", text)
    assert {f"/page/{path.name}" for path in PAGE.iterdir()} >= set(named)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_makes_no_html_of_text_and_asks_no_other_host(path: Path) -> None:
    """A script opens with a sentence, is short, imports what is there, and reads no text as HTML or code."""
    text = path.read_text()
    imported = re.findall(r'from "\./([^"]+)"', text)

    assert text.startswith("// ")
    assert len(text.splitlines()) < 300
    assert [] == re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|https?://|srcdoc", text
    )
    assert [] == [name for name in imported if not (PAGE / name).exists()]


def test_every_file_of_the_page_is_used() -> None:
    """Each script and style is named by index.html, or imported by a script."""
    text = (PAGE / "index.html").read_text() + "".join(path.read_text() for path in SCRIPTS)
    unused = [path.name for path in OWN if path.name not in text and path.name != "index.html"]

    assert [] == unused


def test_every_export_is_imported() -> None:
    """What no other script imports is not exported."""
    texts = [path.read_text() for path in SCRIPTS]
    exported = [
        name
        for text in texts
        for name in re.findall(r"^export (?:async )?(?:function|class|const) (\w+)", text, re.MULTILINE)
    ]
    imported = {
        name for text in texts for names in re.findall(r"import \{([^}]*)\}", text) for name in names.split(", ")
    }

    assert [] == sorted(set(exported) - {name.strip() for name in imported})


def test_each_colour_stands_once_for_light_and_once_for_dark() -> None:
    """A colour that is changed in one place cannot stay as it was in another."""
    names = re.findall(r"^ *(--[\w-]+):", (PAGE / "base.css").read_text(), re.MULTILINE)

    assert [] == [name for name in set(names) if names.count(name) > 2]
