"""Hide values in text: in JSON inside it by its structure (`redaction/documents.py`), in other text after a name.

In other text than JSON, the value after a name is hidden in each of these forms, with quotes of both kinds and any
number of backslashes before them:

    name=value   name: value   'name': value   ('name', 'value')   name='name', value='value'   a['name'] = value
    --name value   ['--name', 'value']   <name>value</name>   <a name="name" value="value">   a=1&b[name]=value

The value in a multipart form is hidden, too, and a parameter of a URL if its decoded value has one of these forms.
Colours of a terminal are ignored; a text in which a value is hidden loses its colours. A quoted value ends with its
quote, a value in brackets with its bracket, any other value before a space or one of `,;&)}]`. All cookies of a header
are hidden, and all parameters of an authorization. A value that is cut off is hidden up to the end of the text. The
time grows linearly with the length of the text.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final
from urllib.parse import unquote_plus

from ipfs_log_handlers.redaction.documents import hide_in_documents
from ipfs_log_handlers.redaction.words import HIDDEN, NAME_KEYS, VALUE_KEYS, Detect, Matches, Replace, hide

__all__ = ["hide_in_text"]

_MAX_DEPTH: Final = 64
"""Number of texts around a text in which JSON and parameters are looked for."""
_MAX_NAME_CHARACTERS: Final = 256
"""Characters of a name that is itself the value of a key such as `name`."""
_MAX_QUOTED_CHARACTERS: Final = 1024
"""Largest number of characters of a value in quotes before its name."""
_MAX_BRACKETED_CHARACTERS: Final = 256
"""Largest number of characters of a value in brackets before its name."""
_MAX_BARE_CHARACTERS: Final = 64
"""Largest number of characters of a value without quotes before its name."""


def hide_in_text(text: str, matches: Matches, detect: Detect | None = None, depth: int = 0) -> str:
    """Return a text with the values of matching names hidden; return the text itself if there are none.

    Args:
        text: any text.
        matches: function that decides whether a name is secret.
        detect: function that hides values without a name, after the others.
        depth: number of texts that contain this one.
    """
    plain = _COLOURS.sub("", text) if "\x1b" in text or "1b[" in text or "033[" in text else text
    hidden = _hide_in_plain(plain, matches, detect, depth)
    if detect is not None:
        hidden = detect(hidden)
    return text if hidden == plain else hidden  # the very object where nothing is hidden


def _hide_in_plain(text: str, matches: Matches, detect: Detect | None, depth: int) -> str:
    if '"' in text and depth <= _MAX_DEPTH:
        inner = partial(hide_in_text, matches=matches, detect=detect, depth=depth + 1)
        text = hide_in_documents(text, matches, inner)
    if "form-data" in text:
        text = _hide_in_form(text, matches)
    if "<" in text:
        text = _hide_in_elements(text, matches)
    if "=" in text and ("%" in text or "[" in text) and depth <= _MAX_DEPTH:
        text = _PARAMETER.sub(lambda part: _without_value(part, _parameter_rule(part, matches, detect, depth)), text)
    if "-" in text:
        text = _hide_after_options(text, matches)
    return _hide_after_names(text, matches)


def _without_value(match: re.Match[str], replace: Replace | None) -> str:
    """Return a matched text, with its group `value` replaced if its name is secret."""
    if replace is None or not match["value"] or match["value"] == HIDDEN:
        return match[0]
    start = match.start("value") - match.start()
    return match[0][:start] + replace(match["value"]) + match[0][start + len(match["value"]) :]


def _replaced(text: str, replace: Replace) -> str:
    """Return what replaces a value that stands in a text, perhaps in quotes."""
    opening = _OPENING.match(text)
    content = text
    if opening is not None and (quote := opening["quote"]) is not None:
        content = text[opening.end() :].removesuffix(quote)
    replaced = replace(content)
    return text if replaced == content else replaced


# -- markup, forms and command lines

_COLOURS: Final = re.compile(r"(?:\x1b|\\+(?:x1b|u001b|033))\[[0-9;:]{0,64}[A-Za-z]")
"""Sequences that colour a text on a terminal, also as `repr` and JSON write them."""
_LINE_END: Final = r"(?:\r?\n|(?:\\+r)?\\+n)"
_FORM_PART: Final = re.compile(r"""form-data;\s*name=\\*"(?P<name>[^"\\]{1,256})\\*\"""")
"""The beginning of a part of a form that is sent as multipart."""
_EMPTY_LINE: Final = re.compile(_LINE_END * 2)
_BOUNDARY: Final = re.compile(f"{_LINE_END}--")
_MAX_PART_HEADER_CHARACTERS: Final = 256
"""Characters between the name of such a part and its content."""
_ELEMENT: Final = re.compile(r"<(?P<tag>(?:[\w.-]+:)?(?P<name>[\w.-]+))(?P<attributes>\s[^<>]*)?>")
"""The beginning of an element of XML or HTML."""
_ATTRIBUTE: Final = re.compile(r"""(?<![\w.:-])(?P<key>[\w.:-]+)\s*=\s*\\*(?P<quote>["'])(?P<value>[^"'<>\\]*)""")
_PARAMETER: Final = re.compile(r"""(?<![\w.\[\]%+-])(?P<name>[\w.\[\]%+-]+)=(?P<value>[^\s&;"'<>\\]*)""")
"""A parameter of a URL or of a form."""
_OPTION: Final = re.compile(r"(?<![\w.-])--?(?P<name>[A-Za-z][\w.-]*)[ \t]+(?=[^\s-])")
"""An option of a command line whose value follows after a space."""


def _hide_in_form(text: str, matches: Matches) -> str:
    """Hide the content of the parts of a form with a name to hide."""
    parts: list[str] = []
    done = 0
    for part in _FORM_PART.finditer(text):
        if part.start() < done or (replace := matches(part["name"])) is None:
            continue
        start = _EMPTY_LINE.search(text, part.end(), part.end() + _MAX_PART_HEADER_CHARACTERS)
        if start is not None:
            end = _BOUNDARY.search(text, start.end())
            parts.append(text[done : start.end()])
            done = len(text) if end is None else end.start()
            parts.append(replace(text[start.end() : done]))
    return "".join((*parts, text[done:])) if parts else text


def _hide_in_elements(text: str, matches: Matches) -> str:
    """Hide the content of elements with a secret name, and the value in `<input name="…" value="…">`."""
    parts: list[str] = []
    done = 0
    closed = "</" in text
    while (element := _ELEMENT.search(text, done)) is not None:
        parts.append(text[done : element.start()])
        parts.append(_hide_in_attributes(element[0], matches) if element["attributes"] else element[0])
        done = element.end()
        if closed and not element[0].endswith("/>") and (replace := matches(element["name"])) is not None:
            end = text.find(f"</{element['tag']}", done)
            if end != done:
                end = end if end >= 0 else len(text)
                parts.append(replace(text[done:end]))
                done = end
    return "".join((*parts, text[done:])) if parts else text


def _hide_in_attributes(element: str, matches: Matches) -> str:
    attributes = list(_ATTRIBUTE.finditer(element))
    names = [part["value"] for part in attributes if part["key"].lower() in NAME_KEYS]
    replace = next(filter(None, map(matches, names)), None)
    if replace is None:
        return element
    return _ATTRIBUTE.sub(
        lambda part: _without_value(part, replace if part["key"].lower() in VALUE_KEYS else None), element
    )


def _parameter_rule(parameter: re.Match[str], matches: Matches, detect: Detect | None, depth: int) -> Replace | None:
    """Return what replaces a parameter because of a part of its name (`a[name]`), or because of its value."""
    name, value = parameter["name"], parameter["value"]
    if "[" in name or "%" in name:
        for part in re.split(r"[\[\]]+", unquote_plus(name)):
            if (replace := matches(part)) is not None:
                return replace
    if "%" not in value:
        return None
    decoded = unquote_plus(value)
    if decoded == value or hide_in_text(decoded, matches, detect, depth + 1) == decoded:
        return None
    return hide


def _hide_after_options(text: str, matches: Matches) -> str:
    parts: list[str] = []
    done = 0
    for option in _OPTION.finditer(text):
        replace = matches(option["name"]) if option.start() >= done else None
        if replace is not None and (span := _value_span(text, option.end())):
            parts += [text[done : span[0]], _replaced(text[span[0] : span[1]], replace)]
            done = span[1]
    return "".join((*parts, text[done:])) if parts else text


# -- any other text

_NAME: Final = re.compile(
    r"""(?:(?P<quote>(?<!\\)\\*["'])|(?<![\w.-]))(?P<name>[\w.-]+)(?(quote)(?P=quote)\]?)\s*"""
    r"""(?P<separator>=>|->|[=:,])\s*"""
)
_OPENING: Final = re.compile(r"""[bBfFrRuU]{0,2}(?P<quote>\\*["'])|(?P<bracket>[\[{(])""")
_QUOTE: Final = re.compile(r"""(?P<backslashes>\\*)(?P<mark>["'])""")
_MARK: Final = re.compile(r"""\\*["']|[\[{(\]})]""")
_BARE: Final = re.compile(
    r"""(?:(?:apikey|basic|bearer|digest|negotiate|ntlm|token)\s+)?"""
    r"""(?:(?!\\{0,8}["'](?:[\s,;&)}\]]|$))[^\s,;&)}\]])+""",
    re.IGNORECASE,
)


_HEADERS_OF_SEVERAL_PARTS: Final = ("cookie", "authorization")
"""Ends of the names of headers whose value goes on after `;` or `,`: `Cookie: a=1; b=2`."""
_FURTHER_PARTS: Final = re.compile(
    r"""(?:\\*"?\s*(?:;\s*[\w!#$%*+.^`|~-]+(?==|[ \t]*(?:[;\r\n"'\\]|$))|,\s*[\w-]+(?==))"""
    r"""(?:=(?:"[^"\r\n]*(?="))?[^\s;,"'\\]*)?)+"?"""
)


def _next_key(keys: frozenset[str]) -> re.Pattern[str]:
    """Return the pattern of a separator, one of these keys, and `=` or `:`."""
    names = "|".join(sorted(keys))
    return re.compile(
        rf"""\s{{0,64}}(?:[,;]|{_LINE_END})\s*(?P<quote>\\*["'])?(?:{names})(?(quote)(?P=quote))\s*[=:]\s*""",
        re.IGNORECASE,
    )


_BARE_NAME: Final = re.compile(r"[\w.-]{1,256}")
_VALUE_KEY: Final = _next_key(VALUE_KEYS)
_NAME_KEY: Final = _next_key(NAME_KEYS)
_PAIR_BEFORE: Final = re.compile(r"[(\[]\s{0,8}[bBfFrRuU]{0,2}$")
_PAIR_AFTER: Final = re.compile(r"\s*(?:[)\]]|$)")

Span = tuple[int, int]
_Secret = tuple["Span | None", "Replace | None"]
"""The place of a secret value, and what replaces it."""
_NOTHING: Final[_Secret] = (None, None)


def _hide_after_names(text: str, matches: Matches) -> str:
    parts: list[str] = []
    done = position = 0
    while (match := _NAME.search(text, position)) is not None:
        position = match.end()
        span, replace = _hidden_span(text, match, matches)
        if span is None or replace is None:
            continue
        start, end = span
        if text[start:end].strip("\\\"'") != HIDDEN:
            parts += [text[done:start], _replaced(text[start:end], replace)]
            done = end
        position = max(position, end)
    return "".join((*parts, text[done:])) if parts else text


def _hidden_span(text: str, match: re.Match[str], matches: Matches) -> _Secret:
    """Return the place of the secret value after a name, and what replaces it."""
    name, start = match["name"], match.end()
    replace = matches(name)
    if replace is None and name[0] == "-":
        replace = matches(name.lstrip("-"))
    if match["separator"] == ",":
        if not match["quote"] or replace is None:
            return _NOTHING
        return (_value_span(text, start) if name[0] == "-" else _value_of_pair(text, match)), replace
    if replace is not None:
        span = _value_span(text, start)
        if span is not None and name.lower().endswith(_HEADERS_OF_SEVERAL_PARTS):
            further = _FURTHER_PARTS.match(text, span[1])
            span = span if further is None else (span[0], further.end())
        return span, replace
    if name.lower() in NAME_KEYS:
        return _value_of_name(text, start, matches)
    if name.lower() in VALUE_KEYS:
        return _value_before_name(text, start, matches)
    return _NOTHING


def _value_of_pair(text: str, match: re.Match[str]) -> Span | None:
    """Return the second of exactly two values in brackets; the first is the name."""
    if _PAIR_BEFORE.search(text[max(0, match.start() - 12) : match.start()]) is None:
        return None
    span = _value_span(text, match.end())
    return span if span is not None and _PAIR_AFTER.match(text, span[1]) else None


def _value_of_name(text: str, start: int, matches: Matches) -> _Secret:
    """Return the value in `name='…', value='…'`, from the beginning of the name on."""
    name, end = _quoted(text, start)
    if name is None and (bare := _BARE_NAME.match(text, start)):
        name, end = bare[0], bare.end()
    replace = None if name is None else matches(name)
    if replace is None or (key := _VALUE_KEY.match(text, end)) is None:
        return _NOTHING
    return _value_span(text, key.end()), replace


def _value_before_name(text: str, start: int, matches: Matches) -> _Secret:
    """Return the value in `value='…', name='…'`, from the beginning of the value on, if it is short."""
    opening = _OPENING.match(text, start)
    if opening is None:
        size = _MAX_BARE_CHARACTERS
    else:
        size = _MAX_QUOTED_CHARACTERS if opening["bracket"] is None else _MAX_BRACKETED_CHARACTERS
    window = text[start : start + size]
    if opening is not None and opening["bracket"] and _NAME_KEY.search(window) is None:
        return _NOTHING
    span = _value_span(window, 0)
    if span is None or (key := _NAME_KEY.match(text, start + span[1])) is None:
        return _NOTHING
    name, _ = _quoted(text, key.end())
    return (start, start + span[1]), (None if name is None else matches(name))


def _quoted(text: str, start: int) -> tuple[str | None, int]:
    """Return the content of a short quoted text, and its end."""
    window = text[start : start + _MAX_NAME_CHARACTERS]
    opening = _OPENING.match(window)
    if opening is None or opening["quote"] is None:
        return None, start
    end = _end_of_quoted(window, opening.end(), opening["quote"])
    return window[opening.end() : end - len(opening["quote"])], start + end


def _value_span(text: str, start: int) -> Span | None:
    """Return the place of the value that begins here; `None` if there is none."""
    opening = _OPENING.match(text, start)
    if opening is None:
        bare = _BARE.match(text, start)
        return bare and bare.span()
    if opening["quote"] is not None:
        return start, _end_of_quoted(text, opening.end(), opening["quote"])
    return start, _end_of_brackets(text, start)


def _end_of_quoted(text: str, start: int, quote: str) -> int:
    """Return the end of a quoted text, also if outer texts have escaped its quotes any number of times.

    Each outer text adds backslashes, and more to inner quotes than to outer ones. The closing quote of a text has as
    many backslashes as its opening quote; a quote with fewer ends an outer text. If a text itself ends with a
    backslash, its end is not found: then more is hidden than necessary.
    """
    level = len(quote) - 1
    for match in _QUOTE.finditer(text, start):
        count = len(match["backslashes"])
        if match["mark"] == quote[-1] and count <= level:
            return match.end() if count == level else match.start()
    return len(text)


def _end_of_brackets(text: str, start: int) -> int:
    """Return the end of the bracket that opens here; brackets in quoted texts do not count."""
    depth, position = 0, start
    while (match := _MARK.search(text, position)) is not None:
        position, mark = match.end(), match[0]
        if mark[-1] in "\"'":
            if _opens_text(text, match.start()):
                position = _end_of_quoted(text, position, mark)
        else:
            depth += 1 if mark in "[{(" else -1
            if depth <= 0:
                return position
    return len(text)


def _opens_text(text: str, position: int) -> bool:
    """Return whether a quote opens a text, and is not an apostrophe in a word."""
    before = text[max(0, position - 3) : position]
    return not before.rstrip("bBfFrRuU")[-1:].isalnum() and (not before[-1:].isalnum() or before[-1:] in "bBfFrRuU")
