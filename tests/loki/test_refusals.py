"""Requests that are refused: each names its reason, and no number is guessed."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.loki import Limits
from tests.support.loki_server import START, LokiServer

SPAN = {"start": f"{START - 30}", "end": f"{START + 200}"}
QUERIES = {
    "": "the parameter 'query' is missing",
    "{": "line 1, col 2: the name of a label is expected, found the end of the query",
    "{}": "the braces are empty",
    '{a="b" |= "x"}': "line 1, col 8: ',' is expected, found '|='",
    '{a="b}': "line 1, col 4: the string has no end",
    '{a="\\q"}': "an escape that is not known",
    '{a=~"("}': "the regular expression '(' cannot be used: missing )",
    '{a=~"x)|(y"}': "cannot be used",
    '{a="b"} |~ "(?=x)"': "cannot be used: invalid perl operator: (?=",
    '{a="b"} |~ "((a{100}){100}){100}"': "cannot be used",
    '{a="b"} |> "<_>"': "not supported here: the pattern filter `|>`",
    '{a="b"} | pattern "<a>"': "not supported here: `pattern`",
    '{a="b"} | regexp "(?P<x>.)"': "not supported here: `regexp`",
    '{a="b"} | unpack': "not supported here: `unpack`",
    '{a="b"} | decolorize': "not supported here: `decolorize`",
    '{a="b"} | label_format x=y': "not supported here: `label_format`",
    '{a="b"} | json x="y"': "not supported here: `json` with parameters",
    '{a="b"} | logfmt --strict': "not supported here: `logfmt` with parameters",
    '{a="b"} |= ip("10.0.0.0/8")': "not supported here: `ip(…)`",
    '{a="b"} | line_format "{{ .a | upper }}"': "not supported here: a template",
    '{a="b"} | wombat': "no step 'wombat'",
    '{a="b"} | x > "5"': "'>' compares numbers",
    'sum_over_time({a="b"} | unwrap x [5m])': "not supported here: `sum_over_time`. It needs `unwrap`",
    'quantile_over_time(0.9, {a="b"} | unwrap x [5m])': "not supported here: `quantile_over_time`",
    'count_over_time({a="b"} | unwrap x [5m])': "not supported here: `unwrap`",
    'absent_over_time({a="b"}[5m])': "not supported here: `absent_over_time`",
    'stddev(count_over_time({a="b"}[5m]))': "not supported here: `stddev`",
    'label_replace(rate({a="b"}[1m]), "a", "b", "c", "d")': "not supported here: `label_replace`",
    'count_over_time({a="b"})': "a range such as [5m] is expected, found ')'",
    'count_over_time({a="b"}[5])': "a range is a duration such as 5m, found '5'",
    'count_over_time({a="b"}[0s])': "a range is a duration such as 5m",
    'count_over_time({a="b"}[1h:5m])': "not supported here: a subquery",
    'count_over_time({a="b"}[5m]) by (x)': "`by` is not allowed for count_over_time",
    'sum({a="b"})': "sum needs series, not lines",
    'topk(0, rate({a="b"}[1m]))': "topk needs a whole number of series, at least 1",
    'rate({a="b"}[1m]) / on (x) rate({a="b"}[1m])': "not supported here: `on`",
    "1 > 2": "not supported here: a comparison of two numbers",
    "1 or 2": "'or' joins series; 1 is a number",
    "wombat(1)": "no function 'wombat'; there are count_over_time,",
    "(" * 400 + "1" + ")" * 400: "the query is nested too deeply",
    "1" + "+1" * 10_000: "the query is longer than 16384 characters",
    "1" + "+1" * 1_000: "the query has more than 200 operations",
    '{a="b"} | x="y"' + ' or x="z"' * 300: "the query has more than 200 operations",
    'rate({a="b"}[1m]) rate': "'rate' is not expected here",
    '{a="b"} §': "'§' is not expected here",
}
PARAMETERS = {
    "limit": ("0", "limit='0' is not a whole number of at least 1"),
    "start": ("yesterday", "start='yesterday' is not a time"),
    "end": (f"{START - 1000}", "the end timestamp must not be before the start timestamp"),
    "step": ("0", "zero or negative query resolution step widths are not accepted"),
    "direction": ("sideways", "direction='sideways' is neither forward nor backward"),
    "interval": ("5s", "the parameter interval is not supported here"),
}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40] or "empty")
def test_a_query_that_cannot_be_answered_is_refused_with_its_reason(loki: LokiServer, query: str):
    """Status 400, in plain words; a fault of the syntax has its line and column."""
    assert QUERIES[query] in loki.get("query_range", {**SPAN, "query": query, "step": "10"}, post=True).refusal


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_wrong_parameter_is_refused_with_its_name(loki: LokiServer, name: str):
    """Times, steps, limits and directions are checked before anything is read."""
    value, reason = PARAMETERS[name]
    query = 'rate({subsystem="audit"}[1m])' if name == "step" else '{subsystem="audit"}'

    assert reason in loki.get("query_range", {**SPAN, "query": query, name: value}).refusal


def test_a_query_for_lines_at_one_moment_is_refused_in_the_words_of_loki(loki: LokiServer):
    """Clients know this sentence: lines need a range."""
    answer = loki.get("query", {"query": '{subsystem="audit"}'})

    assert "log queries are not supported as an instant query type" in answer.refusal


def test_a_number_over_a_line_that_a_step_cannot_read_is_refused(loki: LokiServer):
    """Such a line would be missing in the number; a condition on `__error__` leaves it out on purpose."""
    query = 'sum(count_over_time({{subsystem="audit"}} | json | latency > 10ms {} [10m]))'

    refused = loki.get("query", {"query": query.format(""), "time": f"{START + 200}"}).refusal
    assert "pipeline error: 'LabelFilterErr' (latency is not a duration: 'soon')" in refused
    assert loki.vector(query.format('| __error__=""'), START + 200)


def test_bounds_are_named_when_a_query_needs_more(loki_home):
    """More lines, points, series or bytes than allowed, or more time, are refused with the bound."""
    tight = Limits(max_lines=10, max_points=5, max_series=2, max_inner_series=4, max_answer_bytes=300)
    with LokiServer(loki_home, tight) as loki:
        asked = {**SPAN, "query": '{subsystem="audit"}'}
        rate = {**SPAN, "query": 'rate({subsystem="audit"}[1m])', "step": "60"}

        assert "limit > 10 (11 > 10)" in loki.get("query_range", {**asked, "limit": "11"}).refusal
        assert "the lines have more than 300 bytes" in loki.get("query_range", {**asked, "limit": "10"}).refusal
        assert "maximum resolution of 5 points" in loki.get("query_range", {**rate, "step": "1"}).refusal
        assert "more than 4 series at 6 moments inside" in loki.get("query_range", rate).refusal
        by_level = {**rate, "query": 'sum by (level) (rate({subsystem="audit"}[1m]))'}
        assert "maximum number of series (2) reached" in loki.get("query_range", by_level).refusal
    with LokiServer(loki_home, Limits(max_seconds=0.0)) as loki:
        late = loki.get("query_range", asked)
        assert 504 == late.status
        assert "the query took longer than 0 s" in late.text


def test_a_regular_expression_that_would_keep_another_engine_busy_is_quick(loki: LokiServer):
    """RE2 answers in time that grows with the text alone; a backtracking engine would need years here."""
    assert [] == loki.lines('{subsystem="audit"} |~ "(x+x+)+y" |~ "(a|aa)+$"')
