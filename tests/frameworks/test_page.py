"""docs/frameworks.md shows the programs that are run here, and nothing else."""

from __future__ import annotations

import textwrap

import pytest

from tests import pages
from tests.frameworks.running import EXAMPLES
from tests.programs import ROOT

PAGE = ROOT / "docs" / "frameworks.md"
BLOCKS = list(pages.blocks(PAGE))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_each_block_is_part_of_an_example(block: pages.Block) -> None:
    """Each block names the example that it is a part of, and stands in it word for word."""
    assert block.note == "not run"
    assert block.value.startswith("part of examples/frameworks/")
    whole = (ROOT / block.value.removeprefix("part of ")).read_text(encoding="utf-8")
    assert block.body in textwrap.dedent(whole) or textwrap.indent(block.body, "    ") in whole


def test_each_example_is_shown() -> None:
    """Page and README lead to every example of a framework."""
    shown = {block.value.removeprefix("part of examples/frameworks/").split("/")[0] for block in BLOCKS}
    others = {"logging.json", "wsgi_app.py"}

    assert {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"} == shown | others
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [] == [name for name in shown - {"logging.yaml"} if f"(examples/frameworks/{name}" not in readme]
