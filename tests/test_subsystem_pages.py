"""docs/subsystems/: what the pages say is what the code says, and nothing is left out."""

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

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "subsystems"


def written(directory: Path) -> dict[str, str]:
    """The pages in a directory."""
    return {page.name: page.read_text(encoding="utf-8") for page in sorted(directory.iterdir())}


def test_pages_are_what_the_code_gives(tmp_path):
    """`make docs` would change no byte of them, and neither add nor leave a page."""
    subprocess.run([sys.executable, ROOT / "docs" / "subsystem_pages.py", tmp_path], check=True, timeout=120)
    there, made = written(PAGES), written(tmp_path)
    differing = [
        line
        for name in sorted(there.keys() | made.keys())
        for line in difflib.unified_diff(
            there.get(name, "").splitlines(),
            made.get(name, "").splitlines(),
            name,
            f"{name} from the code",
            lineterm="",
        )
    ]

    assert there == made, "\n".join(["docs/subsystems/ is not what the code says; run `make docs`:", *differing])


@pytest.mark.parametrize("name", registry._OURS)
def test_page_leaves_nothing_out(name):
    """A page has each event with each field, each key of `meta`, each zone-map field and each configured name."""
    subsystem = subsystems.get(name)
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^##+ `?([\w. ]+)`?\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))

    for event in subsystem.events.values():
        assert event.about in sections[event.name]
        for field in event.fields:
            assert f"| `{field.name}` |" in sections[event.name]
    for key in ("type", "timestamp", "version", "record_count", *subsystem.meta):
        assert f"| `{key}` |" in sections["What a batch says"]
    for field in subsystem.zone:
        assert f"`{field}`" in sections["What a batch says"].partition("`stats.fields`")[2]
    for key in subsystem.configurable:
        assert f"| `{key}` |" in sections["Batches"]
    assert f"Cut at {subsystem.records} records" in sections["Batches"]
    assert f"`{subsystem.type}`" in page


@pytest.mark.parametrize("name", registry._OURS)
def test_example_counts_whole(name):
    """The example of a page logs each event of its subsystem, and its batch leaves no record out."""
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    console, told = re.findall(r"^```(?:console|json)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    logged = set(re.findall(r'^    "event": "(.*)"', console, re.MULTILINE))
    meta = json.loads(told)["meta"]

    assert subsystems.get(name).events.keys() <= logged
    assert "left_out" not in meta
    assert meta["record_count"] == len(re.findall(r"^{$", console, re.MULTILINE))
