"""Which directory a verb works on: a home, or one that may become a home, and never somebody else's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ipfs_log_handlers.home import pending_archives
from tests.support import sample_homes
from tests.support.archives import archiver, facts
from tests.support.cli import run
from tests.support.verbs import READING

VERBS = [*map(" ".join, READING), "log", "ship", "keys new-log src"]


def tree(path: Path) -> set[Path]:
    """Everything below a directory."""
    return set(path.rglob("*"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a directory that is not a home, with names that a home has too."""
    project = tmp_path / "project"
    for name in ("src/spool/cron", "notes/archived", "config", "tools", "data/batches"):
        (project / name).mkdir(parents=True)
    for name in ("config/settings.json", "tools/head", "notes/archived/old.json", "data/batches/000.car"):
        (project / name).write_text("x")
    project.chmod(0o755)
    return project


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_directory_of_something_else_is_refused(project, verb, how):
    """A directory in which no log lies is no home: it is named, and nothing is written there."""
    before = tree(project)

    ended = run(*verb.split(), home=project) if how == "option" else run(*verb.split(), IPFS_LOGS_HOME=str(project))

    assert (2, "") == (ended.code, ended.out)
    assert f"ipfs-logs: error: {project} is not a home of ipfs-logs: it contains no log\n" == ended.err
    assert before == tree(project)


def test_an_empty_directory_may_become_a_home(home):
    """An empty directory, or a fresh file system, is looked at as a home in which nothing was logged yet."""
    (home / "lost+found").mkdir(parents=True)
    (home / ".snapshot").mkdir()

    assert 0 == run("doctor", home=home).code
    ended = run("status", home=home)
    assert ended.code == 1
    assert ended.err.startswith(f"ipfs-logs: nothing was logged here yet: {home}. ")


def _without_the_keeper(home: Path) -> None:
    sample_homes.make(home, 1)
    for name in ("writer.key", "keeper.lock", "reserve", "requests"):
        path = home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree(home / "audit" / "spool")


def _former_alone(home: Path) -> None:
    sample_homes.make(home, 1)
    sample_homes.end(home)
    for path in [each for each in home.iterdir() if each.name != "audit"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(home / "audit" / "spool")


def _archive(home: Path) -> None:
    archiver(home, "audit").put_bytes(b"x", facts)
    assert pending_archives.listing(sample_homes.subsystem_dir(home).archived)


@pytest.mark.parametrize(
    "make",
    [lambda home: sample_homes.log(home, range(1)), _archive, _without_the_keeper, _former_alone, sample_homes.make],
)
def test_a_home_is_known_by_any_log(home, make):
    """A segment, an archive that waits, a batch or a former log makes a home, beside files of others, too."""
    make(home)
    (home / "README").touch()

    ended = run("status", home=home)

    assert (0, ["audit"]) == (ended.code, [each["subsystem"] for each in ended.objects])


@pytest.mark.parametrize("args", [("--home", "", "status"), ("status", "--home", "")])
def test_an_empty_name_is_refused(home, args):
    """`--home ""`, as an unset variable in a script gives it, never means another home."""
    sample_homes.make(home, 1)

    ended = run(*args, IPFS_LOGS_HOME=str(home))

    assert (2, "", "ipfs-logs: error: --home is empty: give it a directory\n") == (ended.code, ended.out, ended.err)


def test_a_name_after_the_verb_replaces_an_empty_one_before_it(home):
    """The one behind the verb counts."""
    sample_homes.make(home, 1)

    assert 0 == run("--home", "", "status", "--home", home).code
