"""What the project says about itself is so: names, versions, prose, examples, purity and a light import."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ipfs_log_handlers
from tests import pages

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(ipfs_log_handlers.__file__).resolve().parent
MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(ipfs_log_handlers.__path__, "ipfs_log_handlers.")
    if not found.name.endswith("__main__")
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _place(page: Path) -> str:
    """Where a page lies in the repository."""
    return str(page.relative_to(ROOT))


def _needs(page: Path) -> frozenset[str]:
    """What some blocks of a page are run with."""
    return frozenset().union(*(block.needs for block in pages.blocks(page)))


EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

PURE = {
    "__future__", "base64", "bisect", "binascii", "calendar", "collections", "contextlib", "dataclasses", "datetime",
    "decimal", "enum", "functools", "hashlib", "hmac", "io", "ipaddress", "itertools", "json", "math", "operator", "re",
    "string", "struct", "sys", "types", "typing", "typing_extensions", "unicodedata", "uuid", "zlib",
    "backports", "compression", "cryptography", "msgspec", "multiformats",
}  # fmt: skip
"""What format/ may import: nothing here opens a file or socket, starts a thread, or asks a clock or for randomness
(where a part of it can, `FORBIDDEN` names that part)."""
PARTLY_PURE = {"time": {"gmtime", "strftime", "strptime"}, "pathlib": {"PurePath", "PurePosixPath", "PureWindowsPath"}}
"""Modules of which format/ may use these names only."""
FORBIDDEN = {
    "datetime.datetime.now", "datetime.now", "datetime.utcnow", "dt.date.today", "dt.datetime.now",
    "dt.datetime.utcnow", "Ed25519PrivateKey.generate", "input", "io.open", "open", "print",
    "sys.stderr", "sys.stdin", "sys.stdout", "uuid.getnode", "uuid.uuid1", "uuid.uuid4",
}  # fmt: skip


def test_front_door_is_what_it_says():
    """`__all__` of the package is sorted, each name in it is there, and no other public name is."""
    names = getattr(ipfs_log_handlers, "__all__", [])
    rooms = {name.split(".")[1] for name in MODULES}
    there = {name for name in dir(ipfs_log_handlers) if not name.startswith("_")} - rooms - {"annotations"}
    missing = [name for name in names if not hasattr(ipfs_log_handlers, name)]

    assert "IPFSHandler" in names
    assert [] == missing
    assert sorted(names) == list(names)
    assert set() == there - set(names) - {"TYPE_CHECKING"}


@pytest.mark.parametrize("name", MODULES)
def test_each_room_lists_what_it_offers(name):
    """`__all__` of each module is sorted, has no ghosts, and holds every public class and function defined there."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
    }

    assert [] == [one for one in listed if not hasattr(module, one)]
    assert set() == defined - set(listed)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", ["ipfs_log_handlers", *MODULES])
def test_each_room_says_what_it_is_for(name):
    """Each module opens with a docstring whose first line is a sentence."""
    doc = importlib.import_module(name).__doc__ or ""

    assert re.match(r"[^\n]+([.:]|\n[^\n])", doc), f"{name} has no opening sentence"


def test_versions_agree():
    """setup.cfg, the installed metadata and the top of the changelog name one version."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    declared = settings["metadata"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    top = re.search(r"^## \[(?P<version>[^\]]+)\]", changelog, re.MULTILINE)

    assert top, "CHANGELOG.md has no section of the form `## [1.2.3] - date`"
    assert declared == top["version"]
    assert declared == importlib.metadata.version("ipfs_log_handlers")


def test_package_is_marked_as_typed():
    """Type checkers find `py.typed` in the package."""
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=_place)
def test_what_a_page_shows_is_what_happens(page, tmp_path):
    """Each console and python block of README.md and docs/ runs, and prints what stands below it."""
    assert page.exists(), f"{page.name} is missing"
    pages.run(page, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if _needs(page)], ids=_place)
def test_what_a_page_shows_of_a_daemon_is_what_happens(page, tmp_path, kubo):
    """The same with a real daemon, for the pages that show one."""
    missing = sorted(each for each in _needs(page) - {"kubo"} if shutil.which(each) is None)
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    pages.run(page, tmp_path, kubo)


@pytest.mark.slow
def test_demo():
    """`make demo` lists, reads and verifies what it logged, in less than ten seconds once all is installed."""
    begun = time.monotonic()
    done = subprocess.run(
        ["make", "--no-print-directory", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    took = time.monotonic() - begun
    shown = re.split(r"^\$ (.*)\n", done.stdout, flags=re.MULTILINE)
    told = dict(zip(shown[1::2], shown[2::2], strict=True))
    listed, read, verified = (
        [json.loads(line) for line in told[each].splitlines() if line]
        for each in ("ipfs-logs ls", "ipfs-logs cat audit", "ipfs-logs verify")
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert {"audit", "logs"} == {batch["subsystem"] for batch in listed}
    assert all(batch["cid"].startswith("bafyrei") for batch in listed)
    assert ["mira signed in", None] == [record.get("message") for record in read]
    assert [True, True] == [log["ok"] for log in verified]
    assert took < 10


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"],
    ids=_place,
)
def test_links_lead_somewhere(page):
    """Each relative link of a page leads to a file that is there."""
    assert page.exists(), f"{page.name} is missing"
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_there_are_examples():
    """examples/ holds at least the one that `make demo` runs."""
    assert ROOT / "examples" / "quickstart.py" in EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example, tmp_path):
    """Each example ends well, in a home of its own and without a daemon, and warns of nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IPFS_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env={**kept, "IPFS_LOGS_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 0 == done.returncode, done.stderr
    assert "Traceback" not in done.stderr


def _format_sources() -> list[Path]:
    return sorted((PACKAGE / "format").rglob("*.py"))


@pytest.mark.parametrize("path", _format_sources(), ids=lambda path: path.stem)
def test_formats_are_pure(path):
    """format/ imports no file, socket, thread, clock or randomness, and uses none that came along."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert [] == sorted(_impure_imports(tree) | _impure_names(tree))


def _impure_imports(tree: ast.Module) -> set[str]:
    impure = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            top = (node.module or "").split(".")[0]
            if top in PARTLY_PURE:
                impure |= {f"{top}.{alias.name}" for alias in node.names if alias.name not in PARTLY_PURE[top]}
                continue
            names = [node.module or ""]
        else:
            continue
        ours = ("ipfs_log_handlers.format", "ipfs_log_handlers.errors")
        impure |= {
            name
            for name in names
            if name.split(".")[0] not in PURE and name not in PARTLY_PURE and not name.startswith(ours)
        }
    return impure


def _impure_names(tree: ast.Module) -> set[str]:
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            module, _, rest = text.partition(".")
            if text in FORBIDDEN or (module in PARTLY_PURE and rest not in PARTLY_PURE[module]):
                used.add(text)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN:
            used.add(node.func.id)
    return used


def test_import_is_light():
    """`import ipfs_log_handlers` loads nothing from outside the standard library, and neither asyncio nor ssl."""
    program = (
        "import sys, logging; before = set(sys.modules); import ipfs_log_handlers; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}

    assert {"ipfs_log_handlers"} == {name for name in loaded if name not in sys.stdlib_module_names}
    assert set() == loaded & {"asyncio", "ssl", "sqlite3", "unittest", "email", "http"}


class TestPages:
    """The comparison of pages with what happens is itself compared with what it should find."""

    def test_ellipsis_stands_for_what_varies(self):
        """`…` takes anything within a line, and alone on a line any lines."""
        assert pages.agrees("cid bafy… ok\n…\nend", "cid bafyabc ok\nx\ny\nend\n")
        assert pages.agrees("cid bafy… ok\n…\nend", "cid bafyabc ok\nend\n")
        assert not pages.agrees("cid bafy… ok", "cid bafyabc ok\nmore\n")
        assert not pages.agrees("", "something\n")

    def test_page_that_lies_fails(self, tmp_path):
        """A block whose output differs from the page fails with its line number and both texts."""
        page = tmp_path / "page.md"
        page.write_text("# A\n\n```console\n$ echo one\ntwo\n```\n")

        with pytest.raises(AssertionError, match=r"page\.md:3: echo one printed"):
            pages.run(page, tmp_path)

    def test_page_that_is_true_passes(self, tmp_path):
        """Commands see the files of the page, programs print what the text block says, and `not run` is left alone."""
        page = tmp_path / "page.md"
        page.write_text(
            "<!-- file: app.py -->\n```python\nprint('hello')\n```\n"
            "```console\n$ python app.py\nhello\n$ echo a \\\n>   b\na b\n$ x=1\n$ echo $x\n1\n```\n"
            "```python\nprint(1)\n```\n\n```text\n1\n```\n"
            "<!-- not run: it would never end -->\n```console\n$ sleep infinity\n```\n"
        )

        assert 2 == pages.run(page, tmp_path)

    def test_shell_block_must_be_a_console_block(self, tmp_path):
        """A ```sh block, which nobody would run, is refused."""
        page = tmp_path / "page.md"
        page.write_text("```sh\nls\n```\n")

        with pytest.raises(AssertionError, match="write ```console"):
            pages.run(page, tmp_path)
