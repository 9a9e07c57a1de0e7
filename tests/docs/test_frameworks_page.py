"""docs/frameworks.md shows parts of the programs that are run here, and each part works when it is pasted alone."""

from __future__ import annotations

import ast
import builtins
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.framework_programs import EXAMPLES
from tests.support.programs import ROOT, environment

PAGE = ROOT / "docs" / "frameworks.md"
BLOCKS = list(pages.blocks(PAGE))
PROGRAMS = [block for block in BLOCKS if block.language == "python"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_each_block_is_part_of_an_example(block: pages.Block) -> None:
    """Each block names the example that it is a part of, and stands in it word for word."""
    assert block.note == "not run"
    assert block.value.startswith("part of examples/frameworks/")
    whole = (ROOT / block.value.removeprefix("part of ")).read_text(encoding="utf-8")
    assert block.body in textwrap.dedent(whole) or textwrap.indent(block.body, "    ") in whole


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_each_block_defines_every_name_that_it_uses(block: pages.Block) -> None:
    """What is pasted into a fresh file needs nothing from the file that it was taken from."""
    nodes = list(ast.walk(ast.parse(block.body)))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {alias.asname or alias.name.split(".")[0] for node in nodes for alias in getattr(node, "names", [])
              if isinstance(alias, ast.alias)}  # fmt: skip
    bound |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)} | {"__name__", *dir(builtins)}
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assert set() == used - bound


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.place)
def test_each_block_runs_in_an_empty_directory(block: pages.Block, tmp_path: Path) -> None:
    """A file with nothing but the block is imported without an error."""
    (tmp_path / "pasted.py").write_text(block.body, encoding="utf-8")
    env = environment(IPFS_LOGS_HOME=str(tmp_path / "home"), PYTHONPATH=f"{ROOT}:{tmp_path}")
    done = subprocess.run(
        [sys.executable, "-c", "import pasted"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_each_example_is_shown() -> None:
    """Page and README lead to every example of a framework."""
    shown = {block.value.removeprefix("part of examples/frameworks/").split("/")[0] for block in BLOCKS}
    others = {"logging.json", "wsgi_app.py"}

    assert {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"} == shown | others
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [] == [name for name in shown - {"logging.yaml"} if f"(examples/frameworks/{name}" not in readme]
