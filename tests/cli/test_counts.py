"""`ipfs-logs hist`, `top`, `export` and `completion`."""

from __future__ import annotations

import csv
import json
import subprocess
from collections import Counter

import pyarrow.ipc
import pyarrow.parquet
import pytest

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.format.zstd_frame import zstd_library
from tests.support import query_homes, sample_homes
from tests.support.cli import command, run
from tests.support.programs import environment


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_export_writes_tables_for_other_programs(queried, tmp_path, ending):
    """The file has the records that pass, with the chosen fields as columns."""
    target = tmp_path / f"errors.{ending}"
    ended = run("export", target, "-l", "error", "--fields", "time,number", home=queried)
    read = pyarrow.parquet.read_table(target) if ending == "parquet" else pyarrow.ipc.open_file(target).read_all()
    errors = [record for record in query_homes.records_of(queried) if record["level"] in ("error", "critical")]
    assert ended.objects == [{"file": str(target), "records": len(errors), "size": target.stat().st_size}]
    assert ["time", "number"] == read.schema.names
    assert read.column("number").to_pylist() == [record["number"] for record in errors]
    assert [target] == list(tmp_path.iterdir())


def test_hist_counts_each_record_once(queried):
    """The counts of all rows are the records, by level or by another field."""
    records = query_homes.records_of(queried)
    rows = run("hist", "--span", "10s", home=queried).objects

    assert sum(row["count"] for row in rows) == len(records)
    assert all(sum(row["counts"].values()) == row["count"] for row in rows)
    assert rows == sorted(rows, key=lambda row: str(row["time"]))
    users = run("hist", "--span", "1d", "--by", "user_id", "-l", "error", home=queried).objects
    errors = [record for record in records if record["level"] in ("error", "critical")]
    assert users[0]["counts"] == Counter(record["user_id"] for record in errors)


def test_hist_draws_bars_and_says_where_nothing_is(home):
    """Text has a bar for each row; many empty rows are one line."""
    query_homes.log_some(home, "audit", range(3), spread=0)
    query_homes.log_some(home, "audit", range(100, 104), spread=0)
    query_homes.log_some(home, "audit", range(106, 107), spread=0)
    lines = run("hist", "--span", "1s", "-o", "text", "--utc", home=home).out.splitlines()

    assert [line.split()[2] for line in lines] == ["1", "1", "1", "no", "1", "1", "1", "1", "0", "0", "1"]
    assert lines[0].startswith("2026-02-25 06:13:20  1  █")
    assert len(run("hist", "-o", "text", home=home).out.splitlines()) < 45
    assert run("hist", "-l", "99", home=home).code == 1


def test_top_prints_the_most_frequent_values(queried):
    """Each value with its count, the most frequent one first; nested fields, too."""
    records = query_homes.records_of(queried)
    rows = run("top", "user_id", "-n", "2", home=queried).objects
    assert [(row["value"], row["count"]) for row in rows] == Counter(
        record["user_id"] for record in records
    ).most_common(2)
    assert "/api/" in run("top", "request.path", "audit", "-o", "text", home=queried).out
    assert run("top", "absent", home=queried).code == 1


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.zst", "csv"])
def test_an_export_is_whole_and_has_every_record(queried, tmp_path, ending):
    """The file has the records that pass, in the order of time, and a file that was there is replaced."""
    target = tmp_path / f"out.{ending}"
    target.write_bytes(b"old")
    ended = run("export", target, "-l", "warning", home=queried)
    expected = [
        record for record in query_homes.records_of(queried) if record["level"] in ("warning", "error", "critical")
    ]
    assert ended.objects == [{"file": str(target), "records": len(expected), "size": target.stat().st_size}]
    if ending == "csv":
        with target.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert [{**json.loads(row["fields"]), "time": row["time"], "seq": int(row["seq"])} for row in rows] == [
            {
                key: value
                for key, value in record.items()
                if key not in ("subsystem", "level", "logger", "event", "exception", "stack", "pid")
            }
            for record in expected
        ]
    else:
        content = target.read_bytes()
        text = zstd_library().decompress(content) if ending.endswith("zst") else content
        assert [json.loads(line) for line in text.splitlines()] == expected
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_an_export_that_fails_leaves_the_old_file(queried, tmp_path, monkeypatch):
    """An error while records are written leaves what was there, and no temporary file."""
    target = tmp_path / "out.jsonl"
    target.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        open_dataset(queried).export(target, progress=fail)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("out.jsonl", b"old")]
    assert run("export", tmp_path / "out.xml", home=queried).code == 2
    assert run("export", tmp_path / "absent" / "out.csv", home=queried).code == 2


def test_a_damaged_batch_is_said_beside_an_export(home, tmp_path):
    """The rest is exported, and the exit code is 3."""
    sample_homes.make(home, 30)
    path = sample_homes.subsystem_dir(home).current.batches / "000" / "000001.car"
    sample_homes.flip_last_byte(path)
    ended = run("export", tmp_path / "out.jsonl", home=home)
    assert (ended.code, ended.objects[0]["records"]) == (3, 20)


def test_a_shell_completes_verbs_options_and_subsystems(queried):
    """The script is for the named shell, and what it asks for is answered."""
    for shell in ("bash", "zsh", "fish"):
        assert "_IPFS_LOGS_COMPLETE" in run("completion", shell).out
    words = {"query au": "audit", "query --un": "--until", "qu": "query"}
    for line, expected in words.items():
        asked = {
            **environment(),
            "_IPFS_LOGS_COMPLETE": "bash_complete",
            "COMP_WORDS": f"ipfs-logs {line}",
            "COMP_CWORD": str(len(line.split())),
            "IPFS_LOGS_HOME": str(queried),
        }
        program = [command()[0], "-c", "from ipfs_log_handlers.cli import main; main(prog_name='ipfs-logs')"]
        done = subprocess.run(program, env=asked, capture_output=True, text=True)
        assert f"plain,{expected}" in done.stdout.splitlines(), done.stderr
