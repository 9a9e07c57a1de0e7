"""docs/subsystems/: the pages are those that the code gives, and leave nothing out."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.subsystems import registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "subsystems"


def pages_in(directory: Path) -> dict[str, str]:
    """Return the pages in a directory, by their name."""
    return {page.name: page.read_text(encoding="utf-8") for page in sorted(directory.iterdir())}


def test_the_pages_are_those_that_make_docs_writes(tmp_path):
    """`make docs` would change no byte of the pages, and would neither add nor delete one."""
    subprocess.run([sys.executable, ROOT / "docs" / "subsystem_pages.py", tmp_path], check=True, timeout=120)
    written, made = pages_in(PAGES), pages_in(tmp_path)
    differing = [
        line
        for name in sorted(written.keys() | made.keys())
        for line in difflib.unified_diff(
            written.get(name, "").splitlines(),
            made.get(name, "").splitlines(),
            name,
            f"{name} from the code",
            lineterm="",
        )
    ]

    assert written == made, "\n".join(["docs/subsystems/ is not what the code says; run `make docs`:", *differing])


def test_the_readme_names_every_subsystem():
    """The row `subsystem` of the settings in README.md names the subsystems in their order."""
    [row] = re.findall(r"^\| `subsystem` \|.*", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)

    assert ["subsystem", *registry._OURS] == re.findall(r"`(\w+)`", row)


@pytest.mark.parametrize("name", registry._OURS)
def test_a_page_leaves_nothing_out(name):
    """A page has each event with each field, each key of `meta`, each zone-map field and each configured name."""
    subsystem = subsystems.get(name)
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^##+ `?([\w. ]+)`?\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))

    for event in subsystem.events.values():
        assert event.about in sections[event.name]
        for field in event.fields:
            assert f"| `{field.name}` |" in sections[event.name]
    for key in ("type", "timestamp", "version", "record_count", *subsystem.meta):
        assert f"| `{key}` |" in sections["Metadata of a batch"]
    for field in subsystem.zone:
        assert f"`{field}`" in sections["Metadata of a batch"].partition("`stats.fields`")[2]
    for key in subsystem.configurable:
        assert f"| `{key}` |" in sections["Batches"]
    assert f"Sealed at {subsystem.records} records" in sections["Batches"]
    assert f"`{subsystem.type}`" in page


@pytest.mark.parametrize("name", registry._OURS)
def test_an_example_logs_each_event_completely(name):
    """The example of a page logs each event of its subsystem, and its batch leaves no record out."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    console, metadata = re.findall(r"^```(?:console|json)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    logged = set(re.findall(r'^    "event": "(.*)"', console, re.MULTILINE))
    meta = json.loads(metadata)["meta"]

    assert subsystems.get(name).events.keys() <= logged
    assert "left_out" not in meta
    assert meta["record_count"] == len(re.findall(r"^{$", console, re.MULTILINE))
