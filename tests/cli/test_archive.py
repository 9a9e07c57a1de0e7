"""`archive`, `log` and `cat --archive`: what goes in comes out, in any version, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import file_trees, sample_homes
from tests.support.archives import managing, sealed, verified
from tests.support.cli import command, run, start
from tests.support.programs import environment
from tests.support.terminal import AT_ONCE, run_on_terminal

KEYS = {
    "path", "name", "version", "cid", "parent", "transformations", "archived", "kind", "size", "encrypted",
    "closed", "files", "component", "subsystem", "type", "log", "index", "manifest", "state", "metadata",
}  # fmt: skip


@pytest.fixture
def app_log(tmp_path):
    """Write a file with a few lines."""
    path = tmp_path / "app.log"
    path.write_bytes(b"one\ntwo\n")
    return path


def bytes_of(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for a program, assert that it ends well, and return its output."""
    out, err = process.communicate(timeout=30)
    assert (0, b"") == (process.returncode, err)
    return out


class TestArchive:
    """`ipfs-logs archive`."""

    def test_each_path_is_one_object_and_sealed_at_once(self, home, app_log):
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

    def test_a_component_is_archived_in_versions_with_their_parents(self, home, tmp_path):
        """A directory of a component's logs is archived again and again, each version made from the one before."""
        logs = file_trees.on_disk(tmp_path / "logs", {"daemon.log": b"1\n", "old": {"daemon.log.1": b"0\n"}})
        args = ("archive", "--component", "ipfs-daemon", logs)
        first = run(*args, "--version", "1.0", home=home).objects[0]
        (logs / "daemon.log").write_bytes(b"1\n2\n")
        second = run(*args, "--version", "1.1", home=home).objects[0]

        assert ("ipfs-daemon", "ipfs-daemon", "1.0", 2) == tuple(
            first[key] for key in ("name", "component", "version", "files")
        )
        assert (first["cid"], "1.1") == (second["parent"], second["version"])

    def test_several_paths_become_as_many_batches(self, home, app_log, tmp_path):
        """Several paths become as many batches, named after the paths."""
        tree = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
        ended = run("archive", app_log, tree, home=home)

        assert ["app.log", "tree"] == [each["name"] for each in ended.objects]
        assert 2 == run("archive", app_log, tree, "--name", "one", home=home).code

    def test_a_used_version_is_refused_for_another_content(self, home, app_log, tmp_path):
        """A version is never given to another content; to the same one, in another log or to another name it is."""
        args = ("archive", app_log, "--version", "1.0")
        first = run(*args, home=home).objects[0]
        again = run(*args, home=home)
        app_log.write_bytes(b"other\n")
        refused = run(*args, home=home)
        elsewhere = [run(*args, *more, home=home).code for more in (("--name", "other"), ("--subsystem", "wal"))]

        assert (0, first["cid"]) == (again.code, again.objects[0]["cid"])
        told = f"app.log has a version 1.0 already ({first['cid']}); give another version, or none to number it"
        assert (2, "", f"ipfs-logs: error: {told}\n") == (refused.code, refused.out, refused.err)
        assert [0, 0] == elsewhere
        assert 4 == len(run("log", home=home).objects)
        assert not [path for path in home.rglob("archived/*") if path.is_file()]
        assert 0 == verified(home)

    def test_numbers_leave_out_used_versions(self, home, app_log):
        """A version without a name gets the next number that no other one has."""
        found = []
        for number, given in enumerate((["--version", "2"], [], [])):
            app_log.write_bytes(b"%d\n" % number)
            found.append(run("archive", app_log, *given, home=home).objects[0]["version"])

        assert ["2", "3", "4"] == found

    def test_beside_a_keeper_the_archive_is_durable_and_waits(self, home, app_log):
        """Where another process keeps the home it is left to that one; the archive is durable."""
        sample_homes.make(home, 1)
        held = lock.take(HomeDir(home))
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
            ([__file__, "--meta", "k=" + "x" * 9000], "Write the metadata into a file"),
        ],
    )
    def test_what_cannot_be_archived_is_one_line_and_leaves_nothing(self, home, args, told):
        """What cannot be archived is one line that says what to do, and nothing is kept."""
        ended = run("archive", *args, home=home)

        assert (2, 1) == (ended.code, len(ended.err.splitlines()))
        assert told in ended.err
        assert not run("log", home=home).objects

    def test_a_terminal_shows_a_bar_and_then_the_cid(self, home, tmp_path):
        """On a terminal a bar tells how far it is, and the line that stays tells the CID."""
        path = tmp_path / "large.log"
        path.write_bytes(os.urandom(30 << 20))
        program = [sys.executable, "-c", AT_ONCE, "--home", str(home), "archive", str(path)]
        shown = run_on_terminal(program, columns=100)

        assert 0 == shown.code
        assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" * 9 in shown.output
        [line] = shown.screen
        assert line.startswith("large.log 1: file, 30.0 MiB, sealed: bafy")


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

    def test_versions_are_listed_newest_first_with_their_parents(self, home, history):
        """The newest version comes first, each with its parent; one that waits is among them."""
        found = run("log", "app.log", home=home).objects
        by_cid = run("log", history[1]["cid"], home=home).objects

        assert ["2.0", "1.0", "0.0"] == [each["version"] for each in found]
        assert [found[1]["cid"], found[2]["cid"], None] == [each["parent"] for each in found]
        assert found == by_cid == run("log", home=home).objects
        text = run("log", "app.log", "-o", "text", home=home).out.splitlines()
        assert ["PARENT", "1.0", "0.0", "-"] == [line.split()[-2] for line in text]

    @pytest.mark.parametrize("others", [[], ["wal"]], ids=["one log", "two logs"])
    def test_the_parent_of_an_equal_content_is_the_version_before_in_its_log(self, home, app_log, others):
        """Where the content did not change, the parent is the version before, in the same log."""
        for version in ("1.0", "1.1", "1.2"):
            for subsystem in ("logs", *others):
                run("archive", app_log, "--version", version, "--subsystem", subsystem, home=home)
        text = run("log", "app.log", "-o", "text", home=home).out.splitlines()[1:]

        for subsystem in ("logs", *others):
            rows = [line.split() for line in text if f" {subsystem} " in line]
            assert [("1.2", "1.1"), ("1.1", "1.0"), ("1.0", "-")] == [(row[1], row[-2]) for row in rows]

    def test_a_named_parent_is_taken_among_equal_contents(self, home):
        """Of versions with equal contents the parent is the one that was named as such."""
        with managing(home) as manager:
            manager.store(data=b"rows", metadata={"name": "table", "version": "1.0"})
            manager.version("table", "1.1", parent_version="1.0")
            manager.version("table", "2.0", parent_version="1.0")
        text = run("log", "table", "-o", "text", home=home).out.splitlines()[1:]

        assert [("2.0", "1.0"), ("1.1", "1.0"), ("1.0", "-")] == [(row[1], row[-2]) for row in map(str.split, text)]

    def test_a_parent_that_this_home_lacks_is_shown_by_its_cid(self, home):
        """A parent that this home does not have under that name is told by its CID."""
        other = Cid.of(RAW, b"other").text
        with managing(home) as manager:
            manager.store(data=b"rows", metadata={"name": "table", "version": "1.0", "parent": other})
        [row] = run("log", "table", "-o", "text", home=home).out.splitlines()[1:]

        assert f"{other[:12]}…" == row.split()[-2]

    def test_of_equal_versions_the_newest_is_read_by_name_and_each_by_cid(self, home):
        """Of equal versions that a program stored the newest is read by its name, each by its CID."""
        with managing(home) as manager:
            cids = [
                manager.store(data=data, metadata={"name": "table", "version": "1.0"})["cid"]
                for data in (b"one\n", b"two\n")
            ]
        asked = ("cat", "--archive", "table", "--as-of")

        assert ["two\n", "one\n", "two\n"] == [run(*asked, when, home=home).out for when in ("1.0", *cids)]

    def test_versions_of_an_unknown_name_are_exit_code_1(self, home, history):
        """A name under which nothing was archived is told, and is no success."""
        ended = run("log", "none.log", home=home)

        assert (1, "") == (ended.code, ended.out)
        assert "`ipfs-logs versions` lists" in ended.err

    @pytest.mark.slow
    def test_a_version_is_named_by_version_cid_or_time(self, home, history):
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
    def test_an_unknown_version_is_answered_with_those_that_there_are(self, home, history, when):
        """A version that is not there is told, with those that are."""
        ended = run("cat", "--archive", "app.log", "--as-of", when, home=home)

        assert (1, "") == (ended.code, ended.out)
        assert f"app.log has no version as of {when!r}; it has 0.0, 1.0, 2.0" in ended.err

    def test_a_directory_is_read_file_by_file_or_restored(self, home, tmp_path):
        """Of a directory one file is printed, or all of it is written to a path; else it says how."""
        tree = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
        assert 0 == run("archive", tree, home=home).code
        asked = ("cat", "--archive", "tree")

        assert "deep\n" * 100 == run(*asked, "--path", "a/b/c/deep.log", home=home).out
        assert 0 == run(*asked, "--to", tmp_path / "back", home=home).code
        assert file_trees.read(tree) == file_trees.read(tmp_path / "back")
        assert 0 == run(*asked, "--path", "a/b", "--to", tmp_path / "part", home=home).code
        assert {"c": file_trees.NESTED["a"]["b"]["c"]} == file_trees.read(tmp_path / "part")
        whole, missing = run(*asked, home=home), run(*asked, "--path", "no/such", home=home)
        assert (2, 1) == (whole.code, missing.code)
        assert "--to PATH" in whole.err
        assert "a/b/c/deep.log" in missing.err

    def test_a_path_into_a_file_is_refused(self, home, history):
        """A file has nothing in it that --path could name."""
        ended = run("cat", "--archive", "app.log", "--path", "foo", home=home)

        assert (2, "") == (ended.code, ended.out)
        assert "ipfs-logs: error: app.log is a file, not a directory: leave out --path\n" == ended.err

    def test_a_target_without_its_directory_is_refused(self, home, history, tmp_path):
        """Where the directory of the target is not there, that one is named."""
        target = tmp_path / "none" / "x"
        ended = run("cat", "--archive", "app.log", "--to", target, home=home)

        assert 2 == ended.code
        assert f"ipfs-logs: error: cannot write {target}: the directory {target.parent} does not exist\n" == ended.err
        assert not target.parent.exists()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("args", "told"),
        [
            (["logs", "--archive", "app.log"], "SUBSYSTEM cannot be combined with --archive"),
            (["--sealed", "--archive", "app.log"], "--sealed cannot be combined with --archive"),
            (["--cid", "CID", "--archive", "app.log"], "--cid cannot be combined with --archive"),
            (["-o", "json", "--archive", "app.log"], "leave out -o json"),
            (["-o", "json", "--cid", "CID"], "leave out -o json"),
        ],
    )
    def test_options_without_a_meaning_for_archives_are_refused(self, home, history, args, told):
        """What has no meaning for an archive is refused, before the verb too, and nothing is printed."""
        given = [history[0]["cid"] if each == "CID" else each for each in args]
        ended = run("cat", *given, home=home)

        assert (2, "", 1) == (ended.code, ended.out, len(ended.err.splitlines()))
        assert told in ended.err
        if given[:2] == ["-o", "json"]:
            assert ended == run("-o", "json", "cat", *given[2:], home=home)

    def test_an_unknown_cid_is_one_line_beside_archives(self, home, history):
        """A CID that nothing has is told in one line, also where there are archives."""
        other = history[0]["cid"][:-3] + "aaa"
        ended = run("cat", "--cid", other, home=home)

        assert (1, f"ipfs-logs: error: no batch in {home} has the CID {other}\n") == (ended.code, ended.err)

    def test_a_target_is_never_overwritten(self, home, history, tmp_path):
        """What is at the target already stays as it is."""
        target = tmp_path / "mine"
        target.write_bytes(b"mine")

        assert 2 == run("cat", "--archive", "app.log", "--to", target, home=home).code
        assert b"mine" == target.read_bytes()

    def test_a_terminal_obeys_no_byte_of_an_archived_file(self, home, tmp_path):
        """Escape sequences in an archived file reach a terminal as text only."""
        path = tmp_path / "evil.log"
        path.write_bytes(b"\x1b]0;owned\x07 \xff\nlast")
        run("archive", path, home=home)
        shown = run_on_terminal(command("--home", home, "cat", "--archive", "evil.log"))

        assert "\\x1b]0;owned\\x07 \\xff\r\nlast\r\n" == shown.output

    def test_a_subsystem_with_archives_alone_says_where_they_are_read(self, home, history):
        """`cat` of a subsystem with nothing but archives says where these are read; of records it shows these."""
        ended = run("cat", "logs", home=home)
        assert (1, "") == (ended.code, ended.out)
        assert "cat --archive NAME" in ended.err

        sample_homes.make(home, 3, "logs")
        assert 3 == len(run("cat", "logs", home=home).objects)

    def test_as_of_path_and_to_need_an_archive(self, home, history):
        """--as-of, --path and --to without an archive are usage errors."""
        for args in (["--as-of", "1"], ["--path", "x"], ["--to", "x"]):
            assert 2 == run("cat", *args, home=home).code

    def test_ls_lists_archives_as_archives(self, home, history):
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
    """Return the peak memory of a run of `ipfs-logs`, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", RSS, *command(*args)], env=environment(), capture_output=True, text=True, check=True
    )
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return int(done.stdout) / unit


def write_random(path: Path, mib: int) -> None:
    """Write a file in which no block equals another."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))


@pytest.mark.parametrize("mib", [pytest.param(64, marks=pytest.mark.slow), pytest.param(1024, marks=pytest.mark.soak)])
def test_a_large_file_needs_at_most_64_mib_of_memory(home, tmp_path, mib):
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
def test_a_large_file_is_shipped_in_little_memory(home, kubo, tmp_path, mib):
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
