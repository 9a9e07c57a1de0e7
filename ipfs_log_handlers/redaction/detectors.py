"""Find values in text by their form, without a name: numbers of credit cards and bank accounts, addresses, credentials.

Each detector first looks for characters without which there is no such value, so a text without one costs little. What
has the form is then checked by its own rule (Luhn, mod 97, the header of a JWT), because log lines are full of long
numbers and of `name@host`.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ipfs_log_handlers.redaction.words import Replace

__all__ = ["AWS_NAMES", "DETECTORS", "Detector", "is_card_number"]

Detector = Callable[[str, Replace], str]
"""Function that replaces the values that it finds in a text; the text itself if there are none."""

Span = tuple[int, int]


def _without(text: str, spans: Iterable[Span], replace: Replace) -> str:
    parts: list[str] = []
    done = 0
    for start, end in spans:
        if start >= done:
            parts += [text[done:start], replace(text[start:end])]
            done = end
    return "".join((*parts, text[done:])) if parts else text


# -- credit cards

_CARD: Final = re.compile(
    r"[2-6](?<![0-9A-Za-z_].)(?<![0-9][.-].)[0-9]{3}"
    r"(?:[0-9]{10,15}|(?P<mark>[ -])"
    r"(?:[0-9]{4}(?P=mark)[0-9]{4}(?P=mark)[0-9]{4}(?!(?P=mark)(?!0[1-9]|1[0-2])[0-9]{4}(?![0-9]))"
    r"|[0-9]{6}(?P=mark)[0-9]{4,5}))"
    r"(?![0-9A-Za-z_])(?![.-][0-9])"
)
"""Digits without a break, or in the groups that are printed on a card. A fifth group of four is a month and a year.

The pattern begins with a set of characters, and looks back after it: `re` finds the next place of a set much faster.
"""
_MAESTRO: Final = frozenset({5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763})
"""First four digits of the cards of Maestro."""
_ISSUERS: Final[tuple[tuple[int, int, tuple[int, ...]], ...]] = (
    (4000, 4999, (16, 19)),
    (2221, 2720, (16,)),
    (5100, 5599, (16,)),
    (3400, 3499, (15,)),
    (3700, 3799, (15,)),
    (3000, 3059, (14,)),
    (3600, 3699, (14,)),
    (3800, 3999, (14,)),
    (3528, 3589, (16,)),
    (6011, 6011, (16,)),
    (6440, 6599, (16,)),
    (6200, 6299, (16, 17, 18, 19)),
)
"""First and last number of four digits with which the cards of an issuer begin, and their lengths (ISO/IEC 7812)."""
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""The sum of the digits of twice a digit."""


def is_card_number(digits: str) -> bool:
    """Return whether digits are the number of a card: an issuer has this beginning and length, and Luhn holds."""
    beginning = int(digits[:4])
    known = any(first <= beginning <= last and len(digits) in lengths for first, last, lengths in _ISSUERS)
    if not known and not (beginning in _MAESTRO and len(digits) in (16, 18, 19)):
        return False
    total = sum(map(int, digits[-1::-2])) + sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return total % 10 == 0


def _credit_card(text: str, replace: Replace) -> str:
    spans = (match.span() for match in _CARD.finditer(text) if is_card_number(re.sub("[ -]", "", match[0])))
    return _without(text, spans, replace)


# -- bank accounts

_IBAN: Final = re.compile(r"[0-9](?<=[A-Za-z]{2}.)(?<![0-9A-Za-z_]...)[0-9][ -]?[0-9A-Za-z]{4}")
"""Two digits after exactly two letters, and one group more; sought by the digit, as there are fewer of them."""
_IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU", 31: "MT SC", 32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
"""Characters of an IBAN, by country (the registry of ISO 13616)."""


@functools.cache
def _iban_of(length: int) -> re.Pattern[str]:
    """Return the pattern of an IBAN of this length, whole or in groups of four."""
    groups, rest = divmod(length - 4, 4)
    first = "[A-Za-z]{2}[0-9]{2}(?P<mark>[ -]?)[0-9A-Za-z]{4}"
    last = f"(?P=mark)[0-9A-Za-z]{{{rest}}}" if rest else ""
    return re.compile(f"{first}(?:(?P=mark)[0-9A-Za-z]{{4}}){{{groups - 1}}}{last}(?![0-9A-Za-z_])")


def _iban_spans(text: str) -> Iterable[Span]:
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        country = text[start : start + 2]
        length = _IBAN_LENGTHS.get(country.upper()) if country.isupper() or country.islower() else None
        whole = None if length is None else _iban_of(length).match(text, start)
        if whole is not None:
            compact = re.sub("[ -]", "", whole[0])
            number = int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4]))
            if number % 97 == 1:
                yield whole.span()


def _iban(text: str, replace: Replace) -> str:
    return _without(text, _iban_spans(text), replace)


# -- e-mail addresses

_EMAIL: Final = re.compile(
    r"(?<![\w.+&~!#$*-])(?P<local>\w[\w.+&~!#$*-]{0,63})(?:@|%40)"
    r"(?P<domain>(?:\w(?:[\w-]{0,61}\w)?\.){1,8}(?:[^\W\d_]{2,24}|xn--[0-9A-Za-z-]{2,59}))(?![\w-])"
)
_UNITS: Final = frozenset({
    "automount", "device", "mount", "path", "scope", "service", "slice", "socket", "swap", "target", "timer",
})  # fmt: skip
"""Last parts of the names of systemd's units, such as `getty@tty1.service`."""
_SCALED: Final = re.compile(r"[0-9]x\.")
"""The beginning of what follows the `@` in the name of an image file for a screen of high resolution: `icon@2x.png`."""
_USER_OF_URL: Final = re.compile(r"//[^\s/@\"'<>]*$")
_MAX_USER_CHARACTERS: Final = 256
"""Characters in front of an address in which the beginning of a URL is looked for."""


def _email_spans(text: str) -> Iterable[Span]:
    for match in _EMAIL.finditer(text):
        domain = match["domain"]
        if match["local"] == "git" or domain.rpartition(".")[2] in _UNITS or _SCALED.match(domain):
            continue
        if _USER_OF_URL.search(text, max(0, match.start() - _MAX_USER_CHARACTERS), match.start()) is None:
            yield match.span()


def _email(text: str, replace: Replace) -> str:
    return _without(text, _email_spans(text), replace) if "@" in text or "%40" in text else text


# -- credentials

_JWT: Final = re.compile(r"(?<![0-9A-Za-z_-])(?P<header>eyJ[0-9A-Za-z_-]{8,4096})(?:\.[0-9A-Za-z_-]*){1,4}")
"""Up to five parts in base64url; the first begins with `{"`. A token that is cut off has fewer parts."""


def _is_header(part: str) -> bool:
    """Return whether a part is the header of a JWT: a JSON object with the name of an algorithm."""
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(header, dict) and isinstance(header.get("alg"), str)


def _jwt(text: str, replace: Replace) -> str:
    if "eyJ" not in text:
        return text
    return _without(text, (match.span() for match in _JWT.finditer(text) if _is_header(match["header"])), replace)


AWS_NAMES: Final = ("*secret?access?key*", "*secretaccesskey*", "*aws?session?token*", "*sessiontoken*")
"""Names of the secret half of an access key of AWS, which has no form of its own."""
_AWS_ID: Final = re.compile(r"(?<![0-9A-Za-z])(?:AKIA|ASIA)[2-7A-Z]{16}(?![0-9A-Za-z])")
_AWS_SECRET: Final = re.compile(
    r"(?<![0-9A-Za-z/+=])(?=[0-9A-Za-z/+]{0,39}[0-9])(?=[0-9A-Za-z/+]{0,39}[A-Z])[0-9A-Za-z/+]{40}(?![0-9A-Za-z/+=])"
)
"""Forty characters; they count only beside the id of a key."""


def _aws_key(text: str, replace: Replace) -> str:
    if "AKIA" not in text and "ASIA" not in text:
        return text
    spans = [match.span() for match in _AWS_ID.finditer(text)]
    if spans:
        spans += [match.span() for match in _AWS_SECRET.finditer(text)]
    return _without(text, sorted(spans), replace)


_BEARER: Final = re.compile(r"(?<![0-9A-Za-z_-])bearer(?:[\s:]|%20){1,8}(?P<token>[0-9A-Za-z._~+/-]+=*)", re.IGNORECASE)
_AUTHORIZATION: Final = re.compile(r"""authorization\\*["']?\s*[:=,]\s*\\*["']?$""", re.IGNORECASE)
_MAX_HEADER_CHARACTERS: Final = 32
"""Characters in front of `Bearer` in which the name of the header is looked for."""
_MIN_TOKEN_CHARACTERS: Final = 16
"""Characters that a token has at least where no header says that it is one; a word has fewer, or no digit."""


def _bearer_spans(text: str) -> Iterable[Span]:
    for match in _BEARER.finditer(text):
        token = match["token"]
        long = len(token) >= _MIN_TOKEN_CHARACTERS and any(map(str.isdigit, token)) and any(map(str.isalpha, token))
        if long or _AUTHORIZATION.search(text, max(0, match.start() - _MAX_HEADER_CHARACTERS), match.start()):
            yield match.span("token")


def _bearer_token(text: str, replace: Replace) -> str:
    if "earer" not in text and "EARER" not in text:
        return text
    return _without(text, _bearer_spans(text), replace)


DETECTORS: Final[Mapping[str, Detector]] = {
    "credit_card": _credit_card,
    "iban": _iban,
    "email": _email,
    "jwt": _jwt,
    "aws_key": _aws_key,
    "bearer_token": _bearer_token,
}
"""The detectors by the names that the setting `redact` has for them."""
