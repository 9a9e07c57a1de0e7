"""Something else in the place of any file of a home: no verb waits, breaks, or leaves the home."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from ipfs_log_handlers.home.batches import Batches
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import run
from tests.support.hostile_homes import KINDS, put_kind
from tests.support.programs import environment
from tests.support.verbs_on_kinds import LINK_TO_DIRECTORY


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a home with something of everything: two logs, a pack, archives in a batch and waiting, and a segment."""
    home = tmp_path_factory.mktemp("made") / "home"
    sample_homes.make(home, 20)
    Batches(sample_homes.subsystem_dir(home).current.batches).pack([0])
    sample_homes.end(home)
    sample_homes.make(home, 10)
    archiver(home, "audit").put_bytes(b"sealed", facts)
    sample_homes.seal(home)
    archiver(home, "audit").put_bytes(b"waits", facts)
    sample_homes.log(home, range(5))
    return home


@pytest.mark.parametrize("share", [29, pytest.param(1, marks=[pytest.mark.soak, pytest.mark.timeout(1300)])])
@pytest.mark.parametrize("kind", [*KINDS, LINK_TO_DIRECTORY])
def test_no_verb_is_harmed_by_what_stands_in_the_place_of_a_file(made, kind, share):
    """Every verb on every file or directory ends soon, with a code of its own, and touches nothing out of the home.

    `make test` tries one of 29 pairs, others for each kind; `make soak` tries all pairs.
    """
    program = [sys.executable, "-m", "tests.support.verbs_on_kinds", kind, str(made), str(share)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=1200, env=environment(), check=True)
    *problems, last = map(json.loads, ended.stdout.splitlines())

    assert [] == problems
    assert last["pairs"] > 150 / share


@pytest.mark.parametrize("kind", ["pipe", "directory", "link", "huge"])
@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("audit/head", 0),
        ("audit/former/*/head", 0),
        ("audit/settings.json", 0),
        ("audit/batches/000/000000.car", 10),
        ("audit/spool/*.seg", 5),
        ("keeper.lock", 0),
        ("writer.key", 0),
    ],
)
def test_what_stands_in_the_place_of_a_file_hides_no_other_file(made, tmp_path, file, kind, lost):
    """All other records are read, the logs are listed, and `doctor` names the file."""
    home = tmp_path / "home"
    shutil.copytree(made, home)
    (path,) = home.glob(file)
    (tmp_path / "outside").write_bytes(b"mine")
    put_kind(kind, path, tmp_path / "outside")
    segment_is_none = path.suffix == ".seg" and kind != "huge"  # what is no file is no segment
    printed = run("cat", "-o", "json", home=home)

    assert 35 - lost == len(printed.objects)
    assert printed.code == (3 if (lost and not segment_is_none) or file == "audit/head" else 0), printed.err
    assert run("ls", home=home).code in {0, 5}
    assert run("status", home=home).code == 0
    if path.name != "keeper.lock" and not segment_is_none:
        found = run("doctor", "-o", "json", home=home).out
        assert path.name in found or "batch 0" in found
