"""The front door of the package: `__all__`, docstrings, version and types are what they say; the import is light."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import ipfs_log_handlers

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(ipfs_log_handlers.__file__).resolve().parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(ipfs_log_handlers.__path__, "ipfs_log_handlers.")
    if not module.name.endswith(("__main__", "._accelerator"))
)
"""All modules but the main one, and the extension module, which has no source in Python."""


def test_all_names_of_the_front_door_exist_and_no_other_is_public():
    """`__all__` of the package is sorted, each name in it exists, and no other public name does."""
    names = ipfs_log_handlers.__all__
    packages = {module.split(".")[1] for module in MODULES}
    public = {name for name in dir(ipfs_log_handlers) if not name.startswith("_")} - packages - {"annotations"}

    assert "IPFSHandler" in names
    assert [] == [name for name in names if not hasattr(ipfs_log_handlers, name)]
    assert sorted(names) == list(names)
    assert set() == public - set(names) - {"TYPE_CHECKING"}


def test_a_system_without_fcntl_is_refused_in_words():
    """Where there is no `fcntl`, as on Windows, the import says which systems are supported."""
    program = "import sys; sys.modules['fcntl'] = None\nimport ipfs_log_handlers"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: ipfs_log_handlers needs a POSIX system")


def test_the_map_names_each_package_and_module_at_the_root():
    """The map in the docstring of the package names each package and module at its root once, and nothing else."""
    named = re.findall(r"^    ([\w.]+/?) +\w", ipfs_log_handlers.__doc__ or "", re.MULTILINE)
    packages = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}

    assert sorted(packages | modules) == sorted(named)


@pytest.mark.parametrize("name", MODULES)
def test_all_of_a_module_lists_its_public_classes_and_functions(name):
    """Each name in `__all__` of a module exists once, and each public class and function defined there is in it."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_")
    }

    assert [] == [entry for entry in listed if not hasattr(module, entry)]
    assert set() == defined - set(listed)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("name", ["ipfs_log_handlers", *MODULES])
def test_a_module_opens_with_a_sentence(name):
    """Each module opens with a docstring whose first line is a sentence."""
    doc = importlib.import_module(name).__doc__ or ""

    assert re.match(r"[^\n]+([.:]|\n[^\n])", doc), f"{name} has no opening sentence"


def test_setup_metadata_and_changelog_name_one_version():
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


def test_import_is_light():
    """The handler loads nothing from outside the standard library, and neither asyncio nor ssl."""
    program = (
        "import sys, logging; before = set(sys.modules); from ipfs_log_handlers import IPFSHandler, IPFSProcessor, "
        "register; print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    loaded.discard("_xxsubinterpreters")  # CPython's own until 3.12; `sys.stdlib_module_names` leaves it out

    assert {"ipfs_log_handlers"} == {name for name in loaded if name not in sys.stdlib_module_names}
    assert set() == loaded & {"asyncio", "ssl", "sqlite3", "unittest", "email", "http"}


def test_the_package_alone_imports_no_handler():
    """A command that needs none starts faster."""
    program = "import sys, ipfs_log_handlers; print(*(name for name in sys.modules if 'ingest' in name))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_packages_are_attributes_of_the_front_door():
    """`import ipfs_log_handlers` is enough for `ipfs_log_handlers.config`."""
    program = "import ipfs_log_handlers as p; print(p.subsystems.Subsystem.__name__, p.config.__name__, p.api.__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Subsystem", "ipfs_log_handlers.config", "ipfs_log_handlers.api"]


def test_a_name_that_a_test_of_a_program_replaces_comes_back():
    """The front door keeps no object that was there for a while."""
    real = ipfs_log_handlers.open_home
    with mock.patch("ipfs_log_handlers.api.open_home"):
        assert ipfs_log_handlers.open_home is not real
    assert ipfs_log_handlers.open_home is real
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        getattr(ipfs_log_handlers, "no_such_name")  # noqa: B009 - a type checker refuses the attribute


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keeper.seal", "Sealer"), ("keeper.log_writer", "LogWriter"), ("keeper.seal_records", "RecordSealer"),
        ("keeper.loop", "Keeper"), ("keeper.sealing_rounds", "SealingRounds"), ("runtime.process", "HomeProcess"),
    ],
)  # fmt: skip
def test_the_largest_classes_of_writing_stay_below_250_lines(module, name):
    """A class that grows beyond that has more than one reason to exist."""
    source = inspect.getsource(getattr(importlib.import_module(f"ipfs_log_handlers.{module}"), name))
    assert source.count("\n") < 250
