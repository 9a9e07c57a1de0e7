"""Make lines as many programs log them, full of numbers, hashes and `name@host`, and without any secret in them."""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.lines import json_lines

__all__ = ["TEMPLATES", "lines"]

TEMPLATES: Final = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines()
"""One line of a program each; the names in braces are those of `_Values`."""

_HEX: Final = "0123456789abcdef"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class _Values:
    """Random values for the names in braces."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name, self.of_length)(name)

    def _some(self, characters: str, number: int) -> str:
        return "".join(self._dice.choices(characters, k=number))

    def of_length(self, name: str) -> str:
        kind = name.rstrip("0123456789")
        characters = {"hex": _HEX, "upper": "0123456789ABCDEFGHJKMNPQRSTVWXYZ", "digits": "0123456789"}[kind]
        return self._some(characters, int(name.removeprefix(kind)))

    def two(self, _: str) -> str:
        return self._some("0123456789", 2)

    def three(self, _: str) -> str:
        return self._some("0123456789", 3)

    def six(self, _: str) -> str:
        return self._some("0123456789", 6)

    def nine(self, _: str) -> str:
        return self._some("0123456789", 9)

    def small(self, _: str) -> int:
        return self._dice.randrange(100, 99_999)

    def big(self, _: str) -> int:
        return self._dice.randrange(10**6, 10**12)

    def float(self, _: str) -> float:
        return self._dice.expovariate(3)

    def sec(self, _: str) -> int:
        return 1_772_700_000 + self._dice.randrange(10**6)

    def ms(self, _: str) -> int:
        return (1_772_700_000 + self._dice.randrange(10**6)) * 1000 + self._dice.randrange(1000)

    def us(self, _: str) -> int:
        return self.ms("") * 1000 + self._dice.randrange(1000)

    def ns(self, _: str) -> int:
        return self.us("") * 1000 + self._dice.randrange(1000)

    def ip(self, _: str) -> str:
        return f"192.0.2.{self._dice.randrange(256)}"

    def mac(self, _: str) -> str:
        return ":".join(self._some(_HEX, 2) for _ in range(6))

    def uuid(self, _: str) -> str:
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))

    def base64(self, _: str) -> str:
        return base64.b64encode(self._dice.randbytes(32)).decode().rstrip("=")

    def base32(self, _: str) -> str:
        return self._some(_BASE32, 52)

    def base58(self, _: str) -> str:
        return self._some(_BASE58, 44)


def lines(seed: int = 13, rounds: int = 20) -> Iterator[str]:
    """Yield lines of many programs: `rounds` of each kind, and the records of the benchmarks."""
    values = _Values(seed)
    for template in TEMPLATES:
        for _ in range(rounds):
            yield template.format_map(values)
    for line in json_lines(rounds * 50, seed=seed):
        record = json.loads(line)
        yield from (value for value in record.values() if isinstance(value, str))
        yield json.dumps(record)
