"""`ipfs-logs prove` and `ipfs-logs check`: a bundle goes from the machine that logs to one that has only the key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from ipfs_log_handlers import open_home
from tests.support import gateways, sample_homes
from tests.support.cli import command, run
from tests.support.logging_home import OTHER, lines, put_segment, seal_home
from tests.support.mutations import flips
from tests.support.terminal import run_on_terminal


@pytest.fixture
def logged(home: Path) -> Path:
    """Make a home with three batches of ten records."""
    sample_homes.make(home, 30)
    return home


def key_of(home: Path) -> str:
    """Return the key as `keys show` prints it."""
    return run("keys", "show", "-o", "text", home=home).out.strip()


def test_from_the_log_to_a_machine_with_the_key(logged, tmp_path):
    """The bundle of a record is written, and checked with the key alone: as a line, and as a file."""
    bundle, key = tmp_path / "record.proof", tmp_path / "audit.key"
    written = run("prove", "audit", bundle, "--seq", 15, home=logged)
    assert (written.code, written.err) == (0, "")
    assert written.objects == [{"file": str(bundle), "size": bundle.stat().st_size}]
    key.write_text(key_of(logged) + "\n")

    nowhere = str(tmp_path / "nowhere")
    checked = [
        run("check", bundle, "--key", each, IPFS_LOGS_HOME=nowhere, HOME=nowhere) for each in (key, key_of(logged))
    ]

    assert checked[0] == checked[1]
    assert checked[0].code == 0
    (value,) = checked[0].objects
    assert value["record"] == run("cat", "audit", home=logged).objects[14]
    assert list(value) == [
        "record", "subsystem", "log", "index", "number", "records", "cid", "sealed", "tree_size", "tree_root", "key",
    ]  # fmt: skip
    assert (value["index"], value["number"], value["records"], value["tree_size"]) == (1, 4, 10, 3)
    assert not (tmp_path / "nowhere").exists()


def test_the_text(logged, tmp_path):
    """Text says where the record is, when it was sealed, and who signed; then the record as it was logged."""
    bundle = tmp_path / "record.proof"
    assert run("prove", "audit", bundle, "--seq", 1, "-o", "text", home=logged).out.startswith(f"{bundle}: ")
    shown = run("check", bundle, "--key", key_of(logged), "-o", "text").out.splitlines()
    assert shown[0].startswith("proven: record 0 of 10 in batch 0 of ipfs-logs/")
    assert [line.split()[0] for line in shown[1:3]] == ["sealed", "signed"]
    assert json.loads(shown[3])["number"] == 0


def test_by_cid_and_number(logged, tmp_path):
    """A record is named as `show` names it; the bundle is the same as by its sequence number."""
    cid = run("ls", home=logged).objects[2]["cid"]
    paths = [tmp_path / name for name in "abc"]
    assert run("prove", f"{cid}/9", paths[0], home=logged).code == 0
    assert run("prove", f"ipfs://{cid}/9", paths[1], home=logged).code == 0
    assert run("prove", "audit", paths[2], "--seq", 30, home=logged).code == 0
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_pipe(logged):
    """Without a file the bundle goes to stdout; `check -` reads it from stdin."""
    made = subprocess.run(
        command("--home", logged, "prove", "audit", "--seq", "3"), capture_output=True, check=True
    ).stdout
    checked = subprocess.run(
        command("check", "-", "--key", key_of(logged)), input=made, capture_output=True, check=True
    )
    assert json.loads(checked.stdout)["record"]["number"] == 2


def test_a_terminal_gets_no_bundle(logged):
    """On a terminal a file is needed."""
    shown = run_on_terminal(command("--home", logged, "prove", "audit", "--seq", "3"))
    assert shown.code == 2
    assert "name a FILE" in " ".join(shown.screen)


def test_a_damaged_or_foreign_bundle_is_3(logged, tmp_path):
    """Flipped, cut, empty, of another key: exit code 3, one line on stderr, nothing on stdout."""
    bundle = tmp_path / "record.proof"
    run("prove", "audit", bundle, "--seq", 15, home=logged)
    sample_homes.make(tmp_path / "other", 3)
    data = bundle.read_bytes()
    every = list(flips(data))
    for changed in (*every[:: len(every) // 60], data[:-1], data + b"\n", b""):
        bundle.write_bytes(changed)
        ended = run("check", bundle, "--key", key_of(logged))
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
    bundle.write_bytes(data)
    ended = run("check", bundle, "--key", key_of(tmp_path / "other"))
    assert (ended.code, ended.out) == (3, "")
    assert "no trusted key has signed the log" in ended.err
    assert run("check", bundle, "--key", key_of(tmp_path / "other"), "--key", key_of(logged)).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["check", "FILE"], "Missing option '--key'"),
        (["check", "FILE", "--key", "no key"], "neither a verifier key nor a file with one"),
        (["check", "FILE", "--key", "a+0+b"], "not a verifier key"),
        (["check", "absent", "--key", "KEY"], "absent"),
        (["prove", "audit", "FILE"], "which record of 'audit'? Give its CID/N, or the subsystem and --seq N"),
        (["prove", "CID/x", "FILE"], "'x' is not the number of a record"),
        (["prove", "CID/1", "FILE", "--seq", "1"], "--seq chooses a record of a subsystem"),
        (["prove", "CID/1", "FILE", "--pid", "1"], "--pid goes with --seq"),
        (["prove", "wal", "FILE", "--seq", "1"], "no subsystem 'wal'"),
        (["prove", "nonsense/1", "FILE"], "nonsense"),
        (["prove", "CID/1", "FILE", "--kubo", "http://127.0.0.1:9"], "go with --head"),
        (["prove", "audit", "FILE", "--seq", "1", "--head", "CID"], "name the record as CID/N"),
        (["prove", "CID/1", "FILE", "--head", "CID"], "either kubo or gateway"),
    ],
)
def test_wrong_usage_is_2(logged, tmp_path, given, told):
    """What is wrong with the arguments is one line, and no file is made."""
    cid = run("ls", home=logged).objects[0]["cid"]
    meant = {
        "FILE": str(tmp_path / "made"),
        "KEY": key_of(logged),
        "CID": cid,
        "CID/1": f"{cid}/1",
        "CID/x": f"{cid}/x",
    }
    ended = run(*[meant.get(each, each) for each in given], home=logged)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert not (tmp_path / "made").exists()


def test_no_such_record_is_1(logged, tmp_path):
    """A record that is not there is one line and exit code 1."""
    cid = run("ls", home=logged).objects[0]["cid"]
    for given, told in (
        ((f"{cid}/10",), "no record of this number"),
        (("audit", "--seq", 999), "no record 999 in audit"),
    ):
        ended = run("prove", given[0], tmp_path / "made", *given[1:], home=logged)
        assert (ended.code, ended.out) == (1, "")
        assert told in ended.err
    assert not (tmp_path / "made").exists()


def test_not_sealed_is_1(home, tmp_path):
    """A record that is only in the spool must be sealed first."""
    sample_homes.log(home, range(3))
    ended = run("prove", "audit", tmp_path / "made", "--seq", 2, home=home)
    assert (ended.code, ended.out) == (1, "")
    assert "Seal it first: `ipfs-logs ship`" in ended.err
    assert run("ship", home=home).code in (0, 2)
    assert run("prove", "audit", tmp_path / "made", "--seq", 2, home=home).code == 0


def test_several_processes_are_listed(home, tmp_path):
    """Where processes have the same number, they are listed, and `--pid` chooses."""
    directory = sample_homes.subsystem_dir(home, "logs")
    put_segment(directory, lines(1, 3, pid=7))
    put_segment(directory, lines(1, 3, pid=8), writer=OTHER)
    seal_home(home)
    ended = run("prove", "logs", tmp_path / "made", "--seq", 2, home=home)
    assert (ended.code, ended.out) == (2, "")
    assert "pid 7" in ended.err
    assert "pid 8" in ended.err
    assert run("prove", "logs", tmp_path / "made", "--seq", 2, "--pid", 8, home=home).code == 0
    assert run("check", tmp_path / "made", "--key", key_of(home)).objects[0]["record"]["pid"] == 8


def test_from_a_head(logged, tmp_path):
    """From the CID of a head, a gateway gives all that a proof needs; no home is looked at."""
    cid = run("ls", home=logged).objects[0]["cid"]
    (status,) = open_home(logged).status()
    with gateways.gateway(gateways.blocks_of(logged)) as served:
        ended = run(
            "prove", f"{cid}/3", tmp_path / "made", "--head", status.head, "--gateway", served.url,
            home=tmp_path / "no home",
        )  # fmt: skip
    assert ended.code == 0
    assert run("check", tmp_path / "made", "--key", key_of(logged)).objects[0]["record"]["number"] == 3


def test_an_interrupted_write_leaves_nothing(logged, tmp_path):
    """A file is there whole or not at all; a file that was there stays."""
    (tmp_path / "made").write_text("before")
    with mock.patch("os.fsync", side_effect=OSError(28, "No space left on device")):
        ended = run("prove", "audit", tmp_path / "made", "--seq", 2, home=logged)
    assert ended.code == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["made"]
    assert (tmp_path / "made").read_text() == "before"


def test_check_loads_little():
    """`check` needs no keeper, no query engine and no HTTP client."""
    program = (
        "import sys; from ipfs_log_handlers import check\n"
        "print(*(name for name in sys.modules if name.split('.')[0] in ('ipfs_log_handlers', 'aiohttp', 'asyncio')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[1] if "." in name else name for name in done.stdout.split()}
    assert "verify" in loaded
    assert set() == loaded & {"aiohttp", "asyncio", "keeper", "query", "api"}
