"""Read a query for lines: the selector of streams, and the steps behind it."""

from __future__ import annotations

import re
from typing import Final

from ipfs_log_handlers.loki.refusal import not_supported
from ipfs_log_handlers.loki.syntax import (
    Comparison,
    DropOrKeep,
    Either,
    JsonParser,
    LabelFilter,
    LineFilter,
    LineFormat,
    LogfmtParser,
    LogQuery,
    Matcher,
    Stage,
    Wholly,
)
from ipfs_log_handlers.loki.token_reader import TokenReader
from ipfs_log_handlers.loki.tokens import Kind, Token
from ipfs_log_handlers.loki.units import bytes_of, query_duration_of

__all__ = ["PipelineParser"]

_LINE_FILTERS: Final = ("|=", "!=", "|~", "!~")
_MATCHES: Final = ("=", "!=", "=~", "!~")
_COMPARISONS: Final = ("==", "=", "!=", ">", ">=", "<", "<=")
_REFUSED: Final = {
    "pattern": "Use `| json`: every line is JSON", "regexp": "Use `| json`: every line is JSON",
    "unpack": "Use `| json`", "unwrap": "", "label_format": "", "decolorize": "",
}  # fmt: skip
_FIELD: Final = re.compile(r"\{\{\s*(?:\.([A-Za-z_][A-Za-z0-9_]*)|(__line__))\s*\}\}", re.ASCII)


class PipelineParser(TokenReader):
    """The rules of a query for lines."""

    def is_log_query(self) -> bool:
        """Return whether the query is one for lines, perhaps in parentheses."""
        return next(token.text for token in self._tokens if token.text != "(") == "{"

    def log_query(self) -> LogQuery:
        """Read a selector and steps, perhaps in parentheses."""
        with self.nested():
            if self.take("(") is not None:
                inner = self.log_query()
                self.expect(")")
                return LogQuery(inner.matchers, (*inner.stages, *self.stages()))
            return LogQuery(self.selector(), self.stages())

    def selector(self) -> tuple[Matcher, ...]:
        """Read `{name="value", …}`."""
        begin = self.peek
        self.expect("{")
        matchers: list[Matcher] = []
        while self.take("}") is None:
            if matchers:
                self.expect(",")
                if self.take("}") is not None:
                    break
            name = self.name("the name of a label")
            operator = self.take_any(*_MATCHES)
            if operator is None:
                raise self.refused(self.peek, f"one of {' '.join(_MATCHES)} is expected, found {self.peek}")
            matchers.append(Matcher(name, operator.text, self.string("a value")))
        if not matchers:
            raise self.refused(begin, 'the braces are empty; choose streams, such as {subsystem=~".+"}')
        return tuple(matchers)

    def stages(self) -> tuple[Stage, ...]:
        """Read the steps."""
        stages: list[Stage] = []
        while True:
            if self.peek.text in ("|>", "!>") and self.peek.kind is Kind.SIGN:
                raise self.refused(self.peek, not_supported(f"the pattern filter `{self.peek.text}`"))
            operator = self.take_any(*_LINE_FILTERS)
            if operator is not None:
                stages.append(self._line_filter(operator))
            elif self.take("|") is not None:
                stages.append(self._stage())
            else:
                return tuple(stages)

    def _line_filter(self, operator: Token) -> LineFilter:
        texts = [self._filter_text()]
        while self.take("or") is not None:
            texts.append(self._filter_text())
        return LineFilter(operator.text, tuple(texts))

    def _filter_text(self) -> str:
        if self.peek.text == "ip" and self.peek.kind is Kind.NAME:
            raise self.refused(self.peek, not_supported("`ip(…)`"))
        return self.string("a text")

    def _stage(self) -> Stage:
        word = self.peek
        is_word = word.kind is Kind.NAME and self.peek_after().text not in (*_COMPARISONS, "=~", "!~")
        if not is_word:
            # `| json != "x"` is a parser and a line filter; a filter of a label named json has another form
            is_word = word.text in ("json", "logfmt") and self.peek_after().text in ("!=", "!~")
        if not is_word or word.kind is not Kind.NAME:
            return self._label_filter()
        self.next()
        if word.text in ("json", "logfmt"):
            if self.peek.kind is Kind.NAME or (self.peek.text == "-" and word.text == "logfmt"):
                raise self.refused(self.peek, not_supported(f"`{word.text}` with parameters", f"Use `| {word.text}`"))
            return JsonParser() if word.text == "json" else LogfmtParser()
        if word.text in ("drop", "keep"):
            return self._drop_or_keep(keeps=word.text == "keep")
        if word.text == "line_format":
            return self._line_format()
        if word.text in _REFUSED:
            raise self.refused(word, not_supported(f"`{word.text}`", _REFUSED[word.text]))
        raise self.refused(
            word,
            f"no step {word.text!r}; there are json, logfmt, drop, keep, line_format, and "
            'conditions such as level="error" or status >= 500',
        )

    def _drop_or_keep(self, *, keeps: bool) -> DropOrKeep:
        labels: list[str | Matcher] = []
        while True:
            name = self.name("the name of a label")
            operator = self.take_any(*_MATCHES)
            labels.append(name if operator is None else Matcher(name, operator.text, self.string("a value")))
            if self.take(",") is None:
                return DropOrKeep(keeps, tuple(labels))

    def _line_format(self) -> LineFormat:
        token = self.peek
        template = self.string("a template")
        parts: list[tuple[str, str]] = []
        end = 0
        for field in _FIELD.finditer(template):
            parts.append((template[end : field.start()], field[1] or field[2]))
            end = field.end()
        parts.append((template[end:], ""))
        if any("{{" in text or "}}" in text for text, _ in parts):
            raise self.refused(token, not_supported("a template with more than {{.label}} and {{__line__}}"))
        return LineFormat(tuple(parts))

    # -- conditions on labels

    def _label_filter(self) -> LabelFilter:
        """Read conditions; `and`, a comma and nothing all mean that both must be met."""
        with self.nested():
            left = self._conjunction()
            while self.take("or") is not None:
                self.count_operation()
                left = Either(left, self._conjunction())
            return left

    def _conjunction(self) -> LabelFilter:
        left = self._condition()
        while True:
            joined = self.take_any("and", ",")
            begins = self.peek.text == "(" or (self.peek.kind is Kind.NAME and self.peek.text not in ("or", "offset"))
            if joined is None and not begins:
                return left
            self.count_operation()
            left = Wholly(left, self._condition())

    def _condition(self) -> LabelFilter:
        if self.take("(") is not None:
            inner = self._label_filter()
            self.expect(")")
            return inner
        name = self.name("the name of a label")
        operator = self.take_any(*_COMPARISONS, "=~", "!~")
        if operator is None:
            raise self.refused(self.peek, f"a comparison is expected after {name!r}, found {self.peek}")
        value = self.peek
        if value.kind is Kind.NAME and value.text == "ip":
            raise self.refused(value, not_supported("`ip(…)`"))
        if value.kind is Kind.STRING:
            if operator.text not in _MATCHES:
                raise self.refused(
                    operator, f"{operator.text!r} compares numbers; for a string use one of {' '.join(_MATCHES)}"
                )
            self.next()
            return Matcher(name, operator.text, value.text)
        if operator.text not in _COMPARISONS:
            raise self.refused(value, f"a string is expected after {operator.text!r}, found {value}")
        sign = "==" if operator.text == "=" else operator.text
        return Comparison(name, sign, *self._quantity())

    def _quantity(self) -> tuple[float, str]:
        token = self.peek
        if token.kind is Kind.DURATION:
            self.next()
            duration = query_duration_of(token.text)
            return float(duration or 0), "duration"
        if token.kind is Kind.BYTES:
            self.next()
            return float(bytes_of(token.text) or 0), "bytes"
        sign = -1.0 if self.take("-") is not None else 1.0
        return sign * self.number(), "number"
