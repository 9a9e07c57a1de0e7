"""Each tool answers good questions, refuses bad ones in words, and changes nothing."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from ipfs_log_handlers import check, open_dataset, open_home
from ipfs_log_handlers.mcp_server import log_reading
from ipfs_log_handlers.mcp_server.app import make_server
from ipfs_log_handlers.query import finding
from tests.kubo.daemon import Daemon
from tests.support import query_homes, sample_homes
from tests.support.logging_home import spy
from tests.support.mcp_clients import MODES, Asking, asking, settings_of, talk

TOOLS = (
    "list_datasets", "describe_dataset", "get_logs", "count_logs", "stream_logs", "get_record", "track", "verify",
    "query_sql",
)  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_the_tools_only_read_and_the_resources_are_there(logs: Path, mode: str) -> None:
    """Nine tools with the hints of a reader, and no other; three resources."""

    async def work(ask: Asking) -> None:
        tools = (await ask.client.list_tools()).tools
        assert list(TOOLS) == [tool.name for tool in tools]
        for tool in tools:
            hints = tool.annotations
            assert hints is not None
            assert (True, False, True, False) == (
                hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint,
            )  # fmt: skip
            assert tool.description
            assert tool.input_schema["additionalProperties"] is False
        [datasets] = (await ask.client.list_resources()).resources
        templates = (await ask.client.list_resource_templates()).resource_templates
        assert "logs://datasets" == str(datasets.uri)
        assert ["logs://dataset/{name}/schema", "logs://batch/{cid}"] == [each.uri_template for each in templates]

    asking(logs, work, mode)


@pytest.mark.parametrize("mode", MODES)
def test_each_tool_answers_what_the_dataset_says(logs: Path, mode: str) -> None:
    """Lists, records, counts, history, one record with its proof, a verification, and SQL."""
    expected = query_homes.records_of(logs)

    async def work(ask: Asking) -> None:
        listed = (await ask.answer("list_datasets"))["datasets"]
        described = await ask.answer("describe_dataset", dataset="audit")
        newest = await ask.answer("get_logs", limit=3)
        narrow = await ask.answer(
            "get_logs", dataset="audit", level="error", where=[{"field": "number", "op": ">=", "value": 50}],
            fields=["number"], order="oldest", limit=1000,
        )  # fmt: skip
        levels = await ask.answer("count_logs", by="level")
        over_time = await ask.answer("count_logs", step="10s", by="level")
        history = await ask.pages("track", kind="user", value="mira", limit=1000)
        reports = await ask.answer("verify")
        rows = await ask.answer(
            "query_sql", query="SELECT subsystem, count(*) AS n FROM logs_all GROUP BY 1 ORDER BY 1"
        )

        assert ["audit", "logs", "wal"] == [dataset["name"] for dataset in listed]
        assert 3 == len(described["samples"])
        assert {"number", "user_id"} <= {field["name"] for field in described["fields"]}
        assert [record["time"] for record in newest["records"]] == [record["time"] for record in expected[:-4:-1]]
        wanted = [
            record["number"]
            for record in expected
            if record["subsystem"] == "audit" and record["level"] in ("error", "critical") and record["number"] >= 50
        ]
        assert wanted == _numbers(narrow["records"])
        assert Counter(record["level"] for record in expected) == {
            value["value"]: value["count"] for value in levels["values"]
        }
        assert len(expected) == over_time["count"] == sum(bucket["count"] for bucket in over_time["buckets"])
        assert sorted(record["number"] for record in expected if record["user_id"] == "mira") == sorted(
            _numbers(history)
        )
        assert reports["all_ok"]
        assert "every manifest" in reports["checked"]
        assert [["audit", 85], ["logs", 50], ["wal", 15]] == rows["rows"]
        after = (await ask.answer("list_datasets"))["datasets"][0]["logs"][0]
        assert "ok: 9 batches" == after["verified"]

    asking(logs, work, mode)


def _numbers(records: list[dict[str, Any]]) -> list[int]:
    return [record["number"] for record in records]


def test_a_record_comes_with_a_proof_that_others_can_check(logs: Path) -> None:
    """The bundle is that of `ipfs-logs prove`; it is checked with the key that the server trusts."""
    key = sample_homes.key_of(logs)
    first = next(iter(open_home(logs).batches(["audit"])))

    async def work(ask: Asking) -> None:
        by_place = await ask.answer("get_record", cid=first.cid, number=2)
        by_seq = await ask.answer("get_record", dataset="audit", seq=by_place["record"]["seq"])
        waiting = await ask.answer("get_record", dataset="wal", seq=1)
        plain = await ask.answer("get_record", dataset="audit", seq=1, proof=False)
        assert by_place["record"] == by_seq["record"]
        assert by_place["record"] == check(base64.b64decode(by_seq["proof"]["bundle_base64"]), key).record
        assert first.cid == by_seq["proof"]["verified"]["cid"]
        assert waiting["proof"] is None
        assert "no batch yet" in waiting["no_proof_because"]
        assert "proof" not in plain

    asking(logs, work, keys=(key,))


@pytest.mark.parametrize("redact", [(), ("user_id",)])
def test_a_record_is_looked_up_once(logs: Path, monkeypatch: pytest.MonkeyPatch, redact: tuple[str, ...]) -> None:
    """The batches are read for the stored record; what is shown is made of it."""
    looked_up: list[tuple[Any, ...]] = []
    spy(monkeypatch, finding, "lines_with_seq", lambda *args: looked_up.append(args))

    async def work(ask: Asking) -> Any:
        return (await ask.answer("get_record", dataset="audit", seq=3, proof=False))["record"]["user_id"]

    assert ("[redacted]" == asking(logs, work, redact=redact)) == bool(redact)
    assert 1 == len(looked_up)


def test_a_hidden_process_is_not_found_out(logs: Path) -> None:
    """Where `pid` is hidden, the right one finds as little as a wrong one."""
    pid = query_homes.records_of(logs)[0]["pid"]

    async def work(ask: Asking) -> None:
        assert "record" in await ask.answer("get_record", dataset="audit", seq=1, proof=False)
        assert "no such record" in await ask.refusal("get_record", dataset="audit", seq=1, pid=pid)

    asking(logs, work, redact=("pid",))


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("describe_dataset", {}, "Field required"),
    ("describe_dataset", {"dataset": "nothing"}, "there are: audit, logs, wal"),
    ("get_logs", {"dataset": "nothing"}, "there are: audit, logs, wal"),
    ("get_logs", {"limit": 0}, "greater than or equal to 1"),
    ("get_logs", {"limit": 1001}, "less than or equal to 1000"),
    ("get_logs", {"datasets": ["audit"]}, "Extra inputs are not permitted"),
    ("get_logs", {"since": "the day before"}, "not a time"),
    ("get_logs", {"order": "random"}, "'newest' or 'oldest'"),
    ("get_logs", {"cursor": "bm8="}, "not a cursor"),
    ("get_logs", {"where": [{"field": "event", "op": "~", "value": "(a+)+$"}]}, "where.0.op"),
    ("get_logs", {"level": "loud"}, "level"),
    ("count_logs", {"step": "often"}, "not a span"),
    ("stream_logs", {"wait_s": 26}, "less than or equal to 25"),
    ("stream_logs", {"cursor": "!"}, "not a cursor"),
    ("stream_logs", {"cursor": "bm8="}, "not a cursor"),
    ("get_record", {}, "say which record"),
    ("get_record", {"cid": "no CID", "number": 1}, "not a CID"),
    ("get_record", {"dataset": "audit", "seq": 999_999}, "no such record"),
    ("get_record", {"dataset": "nothing", "seq": 1}, "no source has this subsystem"),
    ("track", {"kind": "person", "value": "mira"}, "kind"),
    ("track", {"kind": "user"}, "value"),
    ("verify", {"dataset": "nothing"}, "nothing"),
    ("verify", {"depth": "all"}, "depth"),
    ("query_sql", {"query": "SELECT nothing FROM audit"}, "nothing"),
    ("query_sql", {"query": "COPY audit TO '/tmp/x.csv'"}, "only one SELECT"),
    ("query_sql", {"query": "SELECT * FROM read_text('/etc/passwd')"}, "SQL"),
    ("write_logs", {}, "Unknown tool"),
]


def test_a_bad_question_is_refused_with_a_reason(logs: Path) -> None:
    """The reason names the argument or what there is; nothing else of this machine is in it."""

    async def work(ask: Asking) -> list[tuple[str, str]]:
        return [(expected, await ask.refusal(tool, **arguments)) for tool, arguments, expected in BAD]

    for (tool, arguments, _), (expected, text) in zip(BAD, asking(logs, work), strict=True):
        assert expected in text, (tool, arguments)
        assert len(text) < 1500
        assert "Traceback" not in text


def test_more_spans_than_an_answer_has_are_refused(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to ask for fewer."""
    monkeypatch.setattr(log_reading, "MAX_COUNTED", 10)

    async def work(ask: Asking) -> str:
        return await ask.refusal("count_logs", step="1s")

    assert "more than 10: give a longer `step`" in asking(logs, work)


def test_the_resources_have_the_same_content_as_the_tools(logs: Path) -> None:
    """The list, the schema of a dataset, the manifest of a batch; a wrong name is an error of the protocol."""
    batch = next(iter(open_home(logs).batches(["audit"])))

    async def work(ask: Asking) -> None:
        assert await ask.text("list_datasets") == await ask.resource("logs://datasets")
        schema = await ask.resource("logs://dataset/audit/schema")
        assert await ask.text("describe_dataset", dataset="audit") == schema
        manifest = json.loads(await ask.resource(f"logs://batch/{batch.cid}"))
        assert (batch.index, batch.records, batch.payload) == (
            manifest["index"], manifest["records"], manifest["payload"],
        )  # fmt: skip
        other = batch.cid[:20] + ("b" if batch.cid[20] == "a" else "a") + batch.cid[21:]
        for wrong in ("logs://dataset/nothing/schema", "logs://batch/nothing", f"logs://batch/{other}"):
            with pytest.raises(MCPError):
                await ask.resource(wrong)

    asking(logs, work)


def test_a_server_without_sql_has_no_such_tool(logs: Path) -> None:
    """The tool is neither listed nor called."""

    async def work(ask: Asking) -> None:
        assert "query_sql" not in [tool.name for tool in (await ask.client.list_tools()).tools]
        assert "Unknown tool" in await ask.refusal("query_sql", query="SELECT 1")

    asking(logs, work, sql=False)


def test_nothing_in_the_home_changes(logs: Path) -> None:
    """No file is made, changed or removed by any call."""

    def files() -> dict[str, tuple[int, int]]:
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(logs.rglob("*"))}

    async def work(ask: Asking) -> None:
        await ask.answer("list_datasets")
        await ask.answer("verify")
        await ask.answer("get_record", dataset="audit", seq=1)
        await ask.answer("stream_logs", wait_s=0)
        await ask.answer("query_sql", query="SELECT count(*) FROM audit")

    before = files()
    asking(logs, work)
    assert before == files()


def test_other_sources_are_served_too(logs: Path, kubo: Daemon, tmp_path: Path) -> None:
    """A CAR file, and a head whose blocks a daemon has; they can be proved, and cannot be followed."""
    copy, shipped = tmp_path / "copy.car", tmp_path / "home"
    open_home(logs).export_car(copy)
    sample_homes.make(shipped, 25, kubo=kubo.url)
    sample_homes.ship(shipped, kubo.url)
    with open_dataset(copy) as dataset:
        sealed = dataset.count()

    async def work(ask: Asking) -> int:
        count = await ask.answer("count_logs")
        record = await ask.answer("get_record", dataset="audit", seq=3)
        assert record["proof"]["bundle_base64"]
        assert "only homes and names can be followed" in await ask.refusal("stream_logs", wait_s=0)
        assert (await ask.answer("verify"))["all_ok"]
        return int(count["count"])

    key = sample_homes.key_of(shipped)
    assert sealed == asking(copy, work)
    assert 25 == talk(make_server(settings_of(sample_homes.head_of(shipped), kubo=kubo.url, keys=[key])), work)


def test_a_gap_is_reported_beside_the_records(home: Path) -> None:
    """A damaged batch: the others are shown, and the answer says what is missing; verify names it."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)

    async def work(ask: Asking) -> None:
        page = await ask.answer("get_logs", limit=1000)
        report = await ask.answer("verify")
        again = await ask.answer("list_datasets")
        assert 20 == len(page["records"])
        assert {"damaged": 1} == page["gaps"]["not_shown"]
        assert not report["all_ok"]
        assert report["logs"][0]["problems"]
        assert "gaps" not in again

    asking(home, work)
