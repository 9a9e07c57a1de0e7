"""The requests that Grafana's data source sends, in the form of its documentation, with the answers it reads.

The health check, the label browser, Explore (lines, and their histogram by level) and volumes: each request has the
parameters, methods and headers that Grafana sends, and each answer the form that Loki's API documents.
"""

from __future__ import annotations

from tests.support.loki_server import COUNT, START, LokiServer

SPAN = {"start": f"{START - 30}000000000", "end": f"{START + COUNT + 30}000000000"}
CATEGORIZED = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}


def test_the_health_check_of_the_data_source_is_answered(loki: LokiServer):
    """`Save & test` evaluates `vector(1)+vector(1)` and wants one value, 2."""
    answer = loki.get("query", {"query": "vector(1)+vector(1)", "time": f"{START}000000000", "limit": "100"})

    assert "vector" == answer.data["resultType"]
    assert [{"metric": {}, "value": [START, "2"]}] == answer.result


def test_the_label_browser_lists_labels_values_and_streams(loki: LokiServer):
    """Labels are few, the values of one are complete, and series are the streams that a selector has."""
    assert ["level", "logger", "service_name", "subsystem"] == loki.get("labels", SPAN).data
    assert ["audit", "logs", "wal"] == loki.get("label/subsystem/values", SPAN).data
    assert ["audit", "logs", "wal"] == loki.get("label/service_name/values", SPAN).data
    assert ["critical", "error", "info", "warning"] == loki.get("label/level/values", SPAN).data
    assert ["app.db", "app.web", "mcp"] == loki.get("label/logger/values", {**SPAN, "query": '{level="info"}'}).data
    assert [] == loki.get("label/pod/values", SPAN).data

    series = loki.get(
        "series", {**SPAN, "match[]": ['{subsystem="wal",level="error"}', '{subsystem="none"}']}, post=True
    )

    assert series.data
    assert all({"level", "logger", "service_name", "subsystem"} == set(stream) for stream in series.data)
    assert {"wal"} == {stream["subsystem"] for stream in series.data}


def test_labels_are_those_of_the_span_alone(loki: LokiServer):
    """Before the first record there is no label, and `wal` begins later than `audit`."""
    before = {"start": f"{START - 1000}", "end": f"{START - 500}"}
    first = {"start": f"{START - 30}", "end": f"{START + 5}"}

    assert [] == loki.get("labels", before).data
    assert ["audit"] == loki.get("label/subsystem/values", first).data


def test_explore_shows_lines_with_labels_told_apart(traced: LokiServer):
    """With its header, Grafana gets the labels of the stream, and for each line metadata and parsed labels."""
    parameters = {"query": '{subsystem="audit"} | json | number < 3', **SPAN, "limit": "1000", "direction": "backward"}

    data = traced.get("query_range", parameters, headers=CATEGORIZED).data

    assert ("streams", ["categorize-labels"]) == (data["resultType"], data["encodingFlags"])
    values = [(stream["stream"], *value) for stream in data["result"] for value in stream["values"]]
    assert 3 == len(values)
    for stream, time_ns, line, labels in values:
        assert {"level", "logger", "service_name", "subsystem"} == set(stream)
        assert time_ns.isdecimal()
        assert '"trace_id"' in line
        assert {"parsed"} == set(labels)  # the id is found by `| json`, too, and then counts as parsed
        assert stream["level"] == labels["parsed"]["level_extracted"]


def test_ids_of_a_trace_are_structured_metadata(traced: LokiServer):
    """An id is no label of a stream; a condition on it finds its lines, and reads few batches for it."""
    trace = f"{2:032x}"
    query = f'{{subsystem=~".+"}} | trace_id="{trace}"'

    data = traced.get("query_range", {"query": query, **SPAN, "limit": "1000"}, headers=CATEGORIZED).data

    values = [value for stream in data["result"] for value in stream["values"]]
    assert values
    assert all({"structuredMetadata": {"trace_id": trace}} == value[2] for value in values)
    assert "trace_id" not in traced.get("labels", SPAN).data
    plain = traced.get("query_range", {"query": query, **SPAN, "limit": "1000"}).result
    assert {trace} == {stream["stream"]["trace_id"] for stream in plain}
    counted = traced.vector(f"sum by (trace_id) (count_over_time({query} [10m]))")
    assert {(("trace_id", trace),): len(values)} == counted


def test_explore_draws_lines_by_level(loki: LokiServer):
    """The histogram over the lines counts them by level and covers each line once."""
    query = 'sum by (level, detected_level) (count_over_time({subsystem="audit"} |= "login" | drop __error__[10s]))'

    data = loki.get("query_range", {"query": query, **SPAN, "step": "10s"}, post=True).data

    assert "matrix" == data["resultType"]
    assert {"level"} == {name for row in data["result"] for name in row["metric"]}
    assert len(loki.lines('{subsystem="audit"} |= "login"')) == sum(
        int(value) for row in data["result"] for _, value in row["values"]
    )


def test_the_size_of_a_query_is_told_from_the_index(loki: LokiServer):
    """`index/stats` has the four numbers by which Grafana says how much a query reads."""
    stats = loki.get("index/stats", {"query": '{subsystem="audit"}', **SPAN}).json

    assert {"streams", "chunks", "entries", "bytes"} == set(stats)
    assert COUNT == stats["entries"]
    assert 1 == stats["streams"]


def test_volumes_are_the_bytes_of_lines(loki: LokiServer):
    """`index/volume` adds up the bytes of lines by labels; `volume_range` the same for each step."""
    lines = {name: loki.lines(f'{{subsystem="{name}"}}') for name in ("audit", "logs", "wal")}
    sizes = {name: sum(len(line.encode()) for line in found) for name, found in lines.items()}

    whole = loki.get("index/volume", {"query": '{subsystem=~".+"}', **SPAN}).result
    by_level = loki.get("index/volume", {"query": '{subsystem=~".+"}', **SPAN, "targetLabels": "level"}).result
    names = loki.get("index/volume", {"query": '{subsystem=~".+"}', **SPAN, "aggregateBy": "labels"}).result
    steps = loki.get("index/volume_range", {"query": '{subsystem=~".+"}', **SPAN, "step": "30"}).result

    assert sizes == {row["metric"]["subsystem"]: int(row["value"][1]) for row in whole}
    assert sum(sizes.values()) == sum(int(row["value"][1]) for row in by_level)
    assert [{"subsystem": ""}] == [row["metric"] for row in names]
    assert sizes == {row["metric"]["subsystem"]: sum(int(value) for _, value in row["values"]) for row in steps}


def test_fields_are_detected_in_the_newest_lines(loki: LokiServer):
    """The fields of JSON lines are listed with type and number of values; so are the values of one."""
    parameters = {"query": '{subsystem="audit"}', **SPAN, "line_limit": "500"}

    fields = {field["label"]: field for field in loki.get("detected_fields", parameters).json["fields"]}
    labels = loki.get("detected_labels", SPAN).json["detectedLabels"]
    levels = loki.get("detected_field/request_path/values", parameters).json["values"]

    assert ("int", COUNT, ["json"]) == tuple(fields["number"][key] for key in ("type", "cardinality", "parsers"))
    assert "string" == fields["latency"]["type"]
    assert {"label": "subsystem", "cardinality": 3} in labels
    assert ["/api/0", "/api/1", "/api/2"] == sorted(levels)


def test_the_server_says_that_it_is_ready_and_which_api_it_has(loki: LokiServer):
    """`/ready` and `status/buildinfo` are asked for before the first query."""
    assert "ready\n" == loki.get("/ready").text
    assert "3.0.0" == loki.get("status/buildinfo").json["version"]
