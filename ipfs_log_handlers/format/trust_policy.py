"""Read a trust policy: the verifier keys of the logs that a reader trusts, one line each.

The form of C2SP tlog-policy, of which the lines `log <vkey> [<url>]` and `quorum none` are understood. A line about
witnesses asks for a check that this version cannot make, so that it is refused and never ignored.

Spec: https://c2sp.org/tlog-policy.
"""

from __future__ import annotations

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.checkpoint import VerifierKey

__all__ = ["parse_policy"]

_WITNESSES = ("witness", "group", "quorum")
"""The first words of lines about witnesses."""
MAX_POLICY = 1 << 20
"""Bytes of a policy; a longer one is not read."""


def parse_policy(data: bytes, where: object = None) -> tuple[VerifierKey, ...]:
    """Return the keys in a policy.

    Args:
        data: its bytes.
        where: the file, for errors.

    Raises:
        ConfigurationError: it is malformed, asks for witnesses, or has no log.
    """
    if len(data) > MAX_POLICY:
        raise ConfigurationError("a policy is too long", where=where, expected=f"at most {MAX_POLICY} bytes")
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError("a policy is text in UTF-8", where=where) from error
    keys: dict[VerifierKey, None] = {}
    quorum = 0
    for number, line in enumerate(lines, 1):
        words, place = line.split(), f"{where or 'policy'} line {number}"
        if not words or words[0].startswith("#"):
            continue
        if words == ["quorum", "none"]:
            quorum += 1
            if quorum > 1:
                raise ConfigurationError("a policy has one quorum", where=place)
        elif words[0] in _WITNESSES:
            raise ConfigurationError(
                "witnesses are not supported yet, and a policy that asks for them is not ignored",
                where=place,
                expected="`log <vkey> [<url>]`, and `quorum none`",
                found=ascii(line[:200]),
            )
        elif words[0] == "log" and len(words) in (2, 3):
            try:
                keys[VerifierKey.parse(words[1])] = None
            except FormatError as error:
                raise ConfigurationError(f"{error.message} in a policy", where=place, hint=error.hint) from error
        else:
            raise ConfigurationError("not a line of a policy", where=place, found=ascii(line[:200]))
    if not keys:
        raise ConfigurationError("a policy names no log", where=where, expected="lines `log <vkey> [<url>]`")
    return tuple(keys)
