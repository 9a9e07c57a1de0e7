"""`archive`, `log` and `cat --archive`: what goes in comes out, in any version, in little memory."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import Home
from tests import trees
from tests.archived import managing, sealed, verified
from tests.cli.running import command, run, start
from tests.programs import environment
from tests.reading import homes

KEYS = {
    "path", "name", "version", "cid", "parent", "transformations", "archived", "kind", "size", "files", "component",
    "subsystem", "type", "log", "index", "manifest", "state", "metadata",
}  # fmt: skip


@pytest.fixture
def app_log(tmp_path):
    """A file with a few lines."""
    path = tmp_path / "app.log"
    path.write_bytes(b"one\ntwo\n")
    return path


def bytes_of(process: subprocess.Popen[bytes]) -> bytes:
    """What a program that ends well prints."""
    out, err = process.communicate(timeout=30)
    assert (0, b"") == (process.returncode, err)
    return out


class TestArchive:
    """`ipfs-logs archive`."""

    def test_json(self, home, app_log):
        """One object for each path, with the promised keys; the batch is sealed when it returns."""
        ended = run("archive", app_log, "--subsystem", "wal", "--meta", "partition_id=7", "--meta", "a=b=c", home=home)
        [found] = ended.objects

        assert (0, "") == (ended.code, ended.err)
        assert found.keys() == KEYS
        assert (Cid.of(RAW, b"one\ntwo\n").text, 8, 1) == (found["cid"], found["size"], found["files"])
        assert ("app.log", "1", "wal", "sealed", "file") == tuple(
            found[key] for key in ("name", "version", "subsystem", "state", "kind")
        )
        assert {"partition_id": "7", "a": "b=c"} == found["metadata"]
        [manifest] = sealed(home, "wal")
        assert (found["cid"], "wal_partition") == (str(manifest["payload"]), manifest["meta"]["type"])
        assert 0 == verified(home)

    def test_component_is_aggregated_and_versioned(self, home, tmp_path):
        """A directory of a component's logs is archived again and again, each version made from the one before."""
        logs = trees.on_disk(tmp_path / "logs", {"daemon.log": b"1\n", "old": {"daemon.log.1": b"0\n"}})
        args = ("archive", "--component", "ipfs-daemon", logs)
        first = run(*args, "--version", "1.0", home=home).objects[0]
        (logs / "daemon.log").write_bytes(b"1\n2\n")
        second = run(*args, "--version", "1.1", home=home).objects[0]

        assert ("ipfs-daemon", "ipfs-daemon", "1.0", 2) == tuple(
            first[key] for key in ("name", "component", "version", "files")
        )
        assert (first["cid"], "1.1") == (second["parent"], second["version"])

    def test_several_paths(self, home, app_log, tmp_path):
        """Several paths become as many batches, named after the paths."""
        tree = trees.on_disk(tmp_path / "tree", trees.NESTED)
        ended = run("archive", app_log, tree, home=home)

        assert ["app.log", "tree"] == [each["name"] for each in ended.objects]
        assert 2 == run("archive", app_log, tree, "--name", "one", home=home).code

    def test_version_that_is_used(self, home, app_log, tmp_path):
        """A version is never given to another content; to the same one, in another log or to another name it is."""
        args = ("archive", app_log, "--version", "1.0")
        first = run(*args, home=home).objects[0]
        again = run(*args, home=home)
        app_log.write_bytes(b"other\n")
        refused = run(*args, home=home)
        elsewhere = [run(*args, *more, home=home).code for more in (("--name", "other"), ("--subsystem", "wal"))]

        assert (0, first["cid"]) == (again.code, again.objects[0]["cid"])
        told = f"app.log has a version 1.0 already ({first['cid']}); give another --version, or none to number it"
        assert (2, "", f"ipfs-logs: error: {told}\n") == (refused.code, refused.out, refused.err)
        assert [0, 0] == elsewhere
        assert 4 == len(run("log", home=home).objects)
        assert not [path for path in home.rglob("archived/*") if path.is_file()]
        assert 0 == verified(home)

    def test_numbers_leave_out_what_is_used(self, home, app_log):
        """A version without a name gets the next number that no other one has."""
        found = []
        for number, given in enumerate((["--version", "2"], [], [])):
            app_log.write_bytes(b"%d\n" % number)
            found.append(run("archive", app_log, *given, home=home).objects[0]["version"])

        assert ["2", "3", "4"] == found

    def test_under_another_keeper(self, home, app_log):
        """Where another process keeps the home it is left to that one; the archive is durable."""
        homes.make(home, 1)
        held = lock.take(Home(home))
        assert held is not None
        try:
            [found] = run("archive", app_log, home=home).objects
        finally:
            held.release()
        assert ("durable", None) == (found["state"], found["manifest"])

    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["/nowhere"], "does not exist"),
            (["/dev/null"], "Pipes, sockets and devices"),
            ([__file__, "--subsystem", "audits"], "'audit' perhaps"),
            ([__file__, "--meta", "nothing"], "KEY=VALUE"),
            ([__file__, "--meta", "k=" + "x" * 9000], "Put it into a file"),
        ],
    )
    def test_refused(self, home, args, told):
        """What cannot be archived is one line that says what to do, and nothing is kept."""
        ended = run("archive", *args, home=home)

        assert (2, 1) == (ended.code, len(ended.err.splitlines()))
        assert told in ended.err
        assert not run("log", home=home).objects

    def test_bar(self, home, tmp_path):
        """On a terminal a bar tells how far it is, and the line that stays tells the CID."""
        path = tmp_path / "large.log"
        path.write_bytes(os.urandom(30 << 20))
        screen, terminal = pty.openpty()
        with subprocess.Popen(
            command("--home", home, "archive", path),
            env=environment(TERM="xterm", COLUMNS="100"),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
        ) as process:
            os.close(terminal)
            shown = b""
            while True:
                try:
                    piece = os.read(screen, 1 << 16)
                except OSError:
                    break
                shown += piece
                if not piece:
                    break
        os.close(screen)

        assert 0 == process.returncode
        assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" * 9 in shown.decode()
        assert b"large.log 1: file, 30.0 MiB, sealed: bafy" in shown


class TestVersions:
    """`ipfs-logs log` and `ipfs-logs cat --archive`."""

    @pytest.fixture
    def history(self, home, app_log):
        """Three versions of a file, and when each was made."""
        made = []
        for number in range(3):
            app_log.write_bytes(b"version %d\n" % number)
            made += run("archive", app_log, "--version", f"{number}.0", home=home).objects
            time.sleep(0.002)
        return made

    def test_log(self, home, history):
        """The newest version comes first, each with its parent; one that waits is among them."""
        found = run("log", "app.log", home=home).objects
        by_cid = run("log", history[1]["cid"], home=home).objects

        assert ["2.0", "1.0", "0.0"] == [each["version"] for each in found]
        assert [found[1]["cid"], found[2]["cid"], None] == [each["parent"] for each in found]
        assert found == by_cid == run("log", home=home).objects
        text = run("log", "app.log", "-o", "text", home=home).out.splitlines()
        assert ["PARENT", "1.0", "0.0", "-"] == [line.split()[-2] for line in text]

    @pytest.mark.parametrize("others", [[], ["wal"]], ids=["one log", "two logs"])
    def test_parents_of_equal_contents(self, home, app_log, others):
        """Where the content did not change, the parent is the version before, in the same log."""
        for version in ("1.0", "1.1", "1.2"):
            for subsystem in ("logs", *others):
                run("archive", app_log, "--version", version, "--subsystem", subsystem, home=home)
        text = run("log", "app.log", "-o", "text", home=home).out.splitlines()[1:]

        for subsystem in ("logs", *others):
            rows = [line.split() for line in text if f" {subsystem} " in line]
            assert [("1.2", "1.1"), ("1.1", "1.0"), ("1.0", "-")] == [(row[1], row[-2]) for row in rows]

    def test_parent_that_was_named(self, home):
        """Of versions with equal contents the parent is the one that was named as such."""
        with managing(home) as manager:
            manager.store(data=b"rows", metadata={"name": "table", "version": "1.0"})
            manager.version("table", "1.1", parent_version="1.0")
            manager.version("table", "2.0", parent_version="1.0")
        text = run("log", "table", "-o", "text", home=home).out.splitlines()[1:]

        assert [("2.0", "1.0"), ("1.1", "1.0"), ("1.0", "-")] == [(row[1], row[-2]) for row in map(str.split, text)]

    def test_parent_that_is_not_here(self, home):
        """A parent that this home does not have under that name is told by its CID."""
        other = Cid.of(RAW, b"other").text
        with managing(home) as manager:
            manager.store(data=b"rows", metadata={"name": "table", "version": "1.0", "parent": other})
        [row] = run("log", "table", "-o", "text", home=home).out.splitlines()[1:]

        assert f"{other[:12]}…" == row.split()[-2]

    def test_version_that_a_program_gave_twice(self, home):
        """Of equal versions that a program stored the newest is read by its name, each by its CID."""
        with managing(home) as manager:
            cids = [
                manager.store(data=data, metadata={"name": "table", "version": "1.0"})["cid"]
                for data in (b"one\n", b"two\n")
            ]
        asked = ("cat", "--archive", "table", "--as-of")

        assert ["two\n", "one\n", "two\n"] == [run(*asked, when, home=home).out for when in ("1.0", *cids)]

    def test_log_of_nothing(self, home, history):
        """A name under which nothing was archived is told, and is no success."""
        ended = run("log", "none.log", home=home)

        assert (1, "") == (ended.code, ended.out)
        assert "`ipfs-logs log` lists" in ended.err

    def test_any_version_is_read(self, home, history):
        """A version is named by what it is called, by a CID, or by a time; without, it is the newest."""
        asked = {
            None: 2,
            "0.0": 0,
            "1.0": 1,
            history[1]["cid"]: 1,
            history[0]["manifest"]: 0,
            history[1]["archived"]: 1,
            history[2]["archived"][:10]: 2,
            "2999": 2,
        }
        for when, number in asked.items():
            as_of = [] if when is None else ["--as-of", when]
            out = bytes_of(start("--home", home, "cat", "--archive", "app.log", *as_of))
            assert b"version %d\n" % number == out, when
        assert b"version 0\n" == bytes_of(start("--home", home, "cat", "--cid", history[0]["cid"]))

    @pytest.mark.parametrize(
        "when", ["", "9.9", "1999", "yesterday", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"]
    )
    def test_no_such_version(self, home, history, when):
        """A version that is not there is told, with those that are."""
        ended = run("cat", "--archive", "app.log", "--as-of", when, home=home)

        assert (1, "") == (ended.code, ended.out)
        assert f"app.log has no version as of {when!r}; it has 0.0, 1.0, 2.0" in ended.err

    def test_directory(self, home, tmp_path):
        """Of a directory one file is printed, or all of it is written to a path; else it says how."""
        tree = trees.on_disk(tmp_path / "tree", trees.NESTED)
        assert 0 == run("archive", tree, home=home).code
        asked = ("cat", "--archive", "tree")

        assert "deep\n" * 100 == run(*asked, "--path", "a/b/c/deep.log", home=home).out
        assert 0 == run(*asked, "--to", tmp_path / "back", home=home).code
        assert trees.read(tree) == trees.read(tmp_path / "back")
        assert 0 == run(*asked, "--path", "a/b", "--to", tmp_path / "part", home=home).code
        assert {"c": trees.NESTED["a"]["b"]["c"]} == trees.read(tmp_path / "part")
        whole, missing = run(*asked, home=home), run(*asked, "--path", "no/such", home=home)
        assert (2, 1) == (whole.code, missing.code)
        assert "--to PATH" in whole.err
        assert "a/b/c/deep.log" in missing.err

    def test_path_in_a_file(self, home, history):
        """A file has nothing in it that --path could name."""
        ended = run("cat", "--archive", "app.log", "--path", "foo", home=home)

        assert (2, "") == (ended.code, ended.out)
        assert "ipfs-logs: error: app.log is a file, not a directory: leave out --path\n" == ended.err

    def test_target_in_no_directory(self, home, history, tmp_path):
        """Where the directory of the target is not there, that one is named."""
        target = tmp_path / "none" / "x"
        ended = run("cat", "--archive", "app.log", "--to", target, home=home)

        assert 2 == ended.code
        assert f"ipfs-logs: error: cannot write {target}: there is no directory {target.parent}\n" == ended.err
        assert not target.parent.exists()

    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["logs", "--archive", "app.log"], "SUBSYSTEM does not go with --archive"),
            (["--sealed", "--archive", "app.log"], "--sealed does not go with --archive"),
            (["--cid", "CID", "--archive", "app.log"], "--cid does not go with --archive"),
            (["-o", "json", "--archive", "app.log"], "leave out -o json"),
            (["-o", "json", "--cid", "CID"], "leave out -o json"),
        ],
    )
    def test_nothing_is_ignored(self, home, history, args, told):
        """What has no meaning for an archive is refused, before the verb too, and nothing is printed."""
        given = [history[0]["cid"] if each == "CID" else each for each in args]
        ended = run("cat", *given, home=home)

        assert (2, "", 1) == (ended.code, ended.out, len(ended.err.splitlines()))
        assert told in ended.err
        if given[:2] == ["-o", "json"]:
            assert ended == run("-o", "json", "cat", *given[2:], home=home)

    def test_unknown_cid_beside_archives(self, home, history):
        """A CID that nothing has is told in one line, also where there are archives."""
        other = history[0]["cid"][:-3] + "aaa"
        ended = run("cat", "--cid", other, home=home)

        assert (1, f"ipfs-logs: error: no batch in {home} has the CID {other}\n") == (ended.code, ended.err)

    def test_target_is_never_overwritten(self, home, history, tmp_path):
        """What is at the target already stays as it is."""
        target = tmp_path / "mine"
        target.write_bytes(b"mine")

        assert 2 == run("cat", "--archive", "app.log", "--to", target, home=home).code
        assert b"mine" == target.read_bytes()

    def test_terminal_is_not_commanded(self, home, tmp_path):
        """Escape sequences in an archived file reach a terminal as text only."""
        path = tmp_path / "evil.log"
        path.write_bytes(b"\x1b]0;owned\x07 \xff\nlast")
        run("archive", path, home=home)
        screen, terminal = pty.openpty()
        with start("--home", home, "cat", "--archive", "evil.log", stdout=terminal, stderr=terminal) as process:
            process.wait(20)
        os.close(terminal)
        shown = os.read(screen, 1 << 16)
        os.close(screen)

        assert b"\\x1b]0;owned\\x07 \\xff\r\nlast\r\n" == shown

    def test_records_are_not_archives(self, home, history):
        """`cat` of a subsystem with nothing but archives says where these are read; of records it shows these."""
        ended = run("cat", "logs", home=home)
        assert (1, "") == (ended.code, ended.out)
        assert "cat --archive NAME" in ended.err

        homes.make(home, 3, "logs")
        assert 3 == len(run("cat", "logs", home=home).objects)

    def test_options_that_need_an_archive(self, home, history):
        """--as-of, --path and --to without an archive are usage errors."""
        for args in (["--as-of", "1"], ["--path", "x"], ["--to", "x"]):
            assert 2 == run("cat", *args, home=home).code

    def test_ls_shows_archives(self, home, history):
        """`ls` lists archives as what they are."""
        assert {"unixfs"} == {each["encoding"] for each in run("ls", home=home).objects}
        assert 3 == run("ls", "-o", "text", home=home).out.count(" archive ")


# -- memory

RSS = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_mib(*args: object) -> float:
    """The most memory that a run of `ipfs-logs` had, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", RSS, *command(*args)], env=environment(), capture_output=True, text=True, check=True
    )
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return int(done.stdout) / unit


def write_random(path: Path, mib: int) -> None:
    """A file in which no block is like another."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))


@pytest.mark.parametrize("mib", [pytest.param(64, marks=pytest.mark.slow), pytest.param(1024, marks=pytest.mark.soak)])
def test_large_file_in_little_memory(home, tmp_path, mib):
    """A file of any size is archived, verified and read back in at most 64 MiB of memory."""
    path = tmp_path / "large.bin"
    write_random(path, mib)

    assert peak_mib("--home", home, "archive", path) <= 64
    path.unlink()
    assert peak_mib("--home", home, "verify") <= 64
    assert peak_mib("--home", home, "cat", "--archive", "large.bin", "--to", path) <= 64
    assert mib << 20 == path.stat().st_size


@pytest.mark.kubo
@pytest.mark.parametrize("mib", [pytest.param(64, marks=pytest.mark.slow), pytest.param(1024, marks=pytest.mark.soak)])
def test_large_file_is_shipped_in_little_memory(home, kubo, tmp_path, mib):
    """A file of any size reaches Kubo from at most 64 MiB of memory beside what a shipment of a few bytes takes."""
    small, path = tmp_path / "small.bin", tmp_path / "large.bin"
    small.write_bytes(os.urandom(9))
    write_random(path, mib)
    args = ("--home", home, "ship", "--kubo", kubo.url, "--timeout", "120")
    run("archive", small, home=home)
    base = peak_mib(*args)
    cid = run("archive", path, home=home).objects[0]["cid"]

    assert peak_mib(*args) <= base + 16
    assert mib << 20 == int(kubo.cli("files", "stat", "--format", "<size>", f"/ipfs/{cid}"))
