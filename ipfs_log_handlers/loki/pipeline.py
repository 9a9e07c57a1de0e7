"""Make the steps of a query into functions, and send lines through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ipfs_log_handlers.loki.labels import Labels
from ipfs_log_handlers.loki.line_parsers import parse_json, parse_logfmt
from ipfs_log_handlers.loki.patterns import compiled, whole_value
from ipfs_log_handlers.loki.syntax import (
    Comparison,
    DropOrKeep,
    Either,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineFormat,
    LogfmtParser,
    Matcher,
    Stage,
)
from ipfs_log_handlers.loki.units import bytes_of, go_duration_of
from ipfs_log_handlers.loki.vectors import COMPARISONS

__all__ = ["Pipeline", "value_test"]

_Step = Callable[[bytes, Labels], bytes | None]
"""Returns the line that goes on, or `None` if the line is left out."""
_Condition = Callable[[Labels], bool]
_NUMBER: Final = "number"


class Pipeline:
    """The steps of one query.

    Args:
        stages: what they are.

    Raises:
        Refusal: a regular expression cannot be used.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._on_line: list[Callable[[bytes], bool]] = []
        """Conditions on the line alone, before any other step."""
        self._steps: list[_Step] = []
        for stage in stages:
            if isinstance(stage, LineFilter) and not self._steps:
                self._on_line.append(_line_test(stage))
            else:
                self._steps.append(_step(stage))

    @property
    def is_of_lines_alone(self) -> bool:
        """Whether no step looks at labels or changes them."""
        return not self._steps

    def keeps(self, line: bytes) -> bool:
        """Return whether a line meets the conditions on the line alone; `passed` does not look at them again."""
        return all(test(line) for test in self._on_line)

    def passed(self, line: bytes, labels: Labels) -> bytes | None:
        """Send a line through the other steps; return what it is then, or `None` if it is left out.

        Args:
            line: its UTF-8.
            labels: its labels, which are changed.
        """
        for step in self._steps:
            changed = step(line, labels)
            if changed is None:
                return None
            line = changed
        return line


def value_test(matcher: Matcher) -> Callable[[str], bool]:
    """Return a function that says whether a value meets a condition; a missing one is empty.

    Raises:
        Refusal: its regular expression cannot be used.
    """
    value = matcher.value
    if matcher.operator == "=":
        return lambda given: given == value
    if matcher.operator == "!=":
        return lambda given: given != value
    matches = whole_value(value)
    return matches if matcher.operator == "=~" else lambda given: not matches(given)


def _step(stage: Stage) -> _Step:
    if isinstance(stage, LineFilter):
        test = _line_test(stage)
        return lambda line, _: line if test(line) else None
    if isinstance(stage, JsonParser):
        return _parsing(parse_json)
    if isinstance(stage, LogfmtParser):
        return _parsing(parse_logfmt)
    if isinstance(stage, DropOrKeep):
        return _dropping(stage)
    if isinstance(stage, LineFormat):
        return _formatting(stage)
    meets = _condition(stage)
    return lambda line, labels: line if meets(labels) else None


def _line_test(stage: LineFilter) -> Callable[[bytes], bool]:
    if stage.operator in ("|~", "!~"):
        found = [compiled(text) for text in stage.texts]
        if stage.operator == "|~":
            return lambda line: any(search(line) for search in found)
        return lambda line: not any(search(line) for search in found)
    words = [text.encode("utf-8", "replace") for text in stage.texts]
    if stage.operator == "|=":
        return lambda line: any(word in line for word in words)
    return lambda line: not any(word in line for word in words)


def _parsing(parse: Callable[[str, Labels], None]) -> _Step:
    def step(line: bytes, labels: Labels) -> bytes:
        parse(line.decode("utf-8", "replace"), labels)
        return line

    return step


def _dropping(stage: DropOrKeep) -> _Step:
    names = {label for label in stage.labels if isinstance(label, str)}
    tests = [(label.name, value_test(label)) for label in stage.labels if isinstance(label, Matcher)]

    def is_meant(name: str, value: str) -> bool:
        return name in names or any(name == other and test(value) for other, test in tests)

    def step(line: bytes, labels: Labels) -> bytes:
        if stage.keeps:
            labels.keep_only(lambda name, value: name.startswith("__error") or is_meant(name, value))
        else:
            labels.keep_only(lambda name, value: not is_meant(name, value))
        return line

    return step


def _formatting(stage: LineFormat) -> _Step:
    def step(line: bytes, labels: Labels) -> bytes:
        made = bytearray()
        for text, name in stage.parts:
            made += text.encode("utf-8", "replace")
            if name == "__line__":
                made += line
            elif name:
                made += (labels.get(name) or "").encode("utf-8", "replace")
        return bytes(made)

    return step


# -- conditions on labels


def _condition(wanted: LabelFilter) -> _Condition:
    if isinstance(wanted, Matcher):
        test, name = value_test(wanted), wanted.name
        return lambda labels: test(labels.get(name) or "")
    if isinstance(wanted, Comparison):
        return _comparison(wanted)
    left, right = _condition(wanted.left), _condition(wanted.right)
    if isinstance(wanted, Either):
        return lambda labels: left(labels) or right(labels)
    return lambda labels: left(labels) and right(labels)


def _comparison(wanted: Comparison) -> _Condition:
    """Compare a label with a number; a value that cannot be read keeps the line, which then has the label `__error__`.

    A line that has this label already stays: only a condition on `__error__` itself leaves it out.
    """
    compare, name, number = COMPARISONS[wanted.operator], wanted.name, wanted.number
    read = {"duration": go_duration_of, "bytes": bytes_of, _NUMBER: _number_of}[wanted.unit]

    def meets(labels: Labels) -> bool:
        if labels.error:
            return True
        text = labels.get(name)
        if text is None:
            return False
        value = read(text)
        if value is None:
            labels.fail("LabelFilterErr", f"{name} is not a {wanted.unit}: {ascii(text)[:80]}")
            return True
        return compare(value, number)

    return meets


def _number_of(text: str) -> float | None:
    """Return the number in a text, as Go reads one; `None` for another text."""
    bare = text.lower()
    if not bare.isascii() or bare.strip() != bare:
        return None
    try:
        return float(bare)
    except ValueError:
        return None
