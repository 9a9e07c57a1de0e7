"""Erase what was sealed in a period, or what it has of one value of a field: destroy keys, and say so in a signed act.

The steps, for each subsystem; a crash can come after each of them, and the next call goes on from there:

1. A legal hold over records of a batch that would be erased refuses all of it.
2. Each key is marked as `shredding`, with the act: from here on nothing is encrypted to it.
3. The act is sealed. The keeper has then sealed each batch that it began with one of the keys before.
4. Holds are looked at again: one that was set since then keeps the keys, and a later call ends the work.
5. The keys of pseudonyms of months inside the period are erased; then the wrapped secrets are overwritten and removed,
   and each mark becomes `shredded`. Then the secret of the names of keys of values is forgotten, if none is in use.

So a key is called shredded only when its secret is gone, and no batch is sealed with a key that is gone.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.act import Act
from ipfs_log_handlers.format.encryption import kid_in
from ipfs_log_handlers.format.kid import Kid, bounds
from ipfs_log_handlers.home import acts, data_keys, key_shredding, pseudonym_keys, scope_keys
from ipfs_log_handlers.home.acts import SealedAct
from ipfs_log_handlers.home.key_directory import keys_in, kids_of, load, state
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act

__all__ = ["ShreddedKeys", "shred", "shred_in_directory"]

_MAX_KEYS = 32
"""Largest number of keys in one act; further ones are in the next act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShreddedKeys:
    """The keys of one subsystem that were destroyed by one act."""

    subsystem: str
    """The subsystem."""
    period: str
    """The period; of all periods: the first one, two dots, and the last one."""
    keys: tuple[str, ...]
    """Their ids."""
    batches: int | None
    """Batches that nobody can read any more; `None`: not counted, because the directory is not a home."""
    log: str | None = None
    """The log with the act."""
    index: int | None = None
    """The number of the batch with the act."""
    reason: str | None = None
    """The reason in the act."""
    pseudonyms: tuple[str, ...] = ()
    """Months whose key of pseudonyms was erased, because they lie inside the period."""
    elsewhere: tuple[str, ...] = ()
    """Those that were issued: their secrets are in the key directory of their holder, who has to destroy them, too."""
    others: tuple[str, ...] = ()
    """Further keys of the period, which were made after the act and are in use: another call destroys them, too."""

    def as_json(self) -> dict[str, Any]:
        """Return the result with the keys of `ipfs-logs keys shred`."""
        members = {name: getattr(self, name) for name in self.__slots__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}


def shred(
    home: HomeDir,
    period: str | None,
    *,
    reason: str,
    subsystem: str | None = None,
    scope: str | None = None,
    by: str | None = None,
) -> list[ShreddedKeys]:
    """Destroy the keys of a period, or of one value of a field. A program may log meanwhile, and gets further keys.

    Args:
        home: the home.
        period: the period; `None`: all periods, where `scope` is given.
        reason: why; it becomes a part of the log.
        subsystem: only its keys; `None`: those of all subsystems.
        scope: only the keys of this value of the field that the setting `scope` names.
        by: who asks for it; `None`: the user and the host of this process.

    Returns:
        The keys that were destroyed, act by act.

    Raises:
        ConfigurationError: there is no such key, or a text is malformed.
        HeldError: a legal hold stands over a batch of one of the keys. No key of its subsystem was destroyed.
        HomeError: the act is not in a batch yet; call this again. Or the secret of the names of keys is damaged.
        FormatError: a batch is damaged, so that it is not known what is held.
        OSError: the disk refuses; call this again.
    """
    wanted = _keys_by_subsystem(home, period, subsystem, scope)
    if not wanted:
        raise _no_key(home, period, subsystem, scope)
    for name, kids in wanted.items():  # before anything is done
        _refuse_if_held(home.subsystem_dir(name), [kid for kid in kids if state(home, kid) != "shredded"])
    whole = period if scope is None else None
    shredded: list[ShreddedKeys] = []
    for name, kids in wanted.items():
        shredded += _shred_of(home, name, kids, reason, by, whole_period=whole)
    return shredded


def _keys_by_subsystem(
    home: HomeDir, period: str | None, subsystem: str | None, scope: str | None
) -> dict[str, list[str]]:
    """Find the chosen keys in the key directory, also those whose destruction has begun or is done."""
    if period is None and scope is None:
        raise ConfigurationError("say what is erased", expected="a period, or a value of the field of `scope`")
    names = sorted({key.subsystem for key in keys_in(home, subsystem)})
    found: dict[str, list[str]] = {}
    try:
        for name in names:
            for each in [period] if period is not None else scope_keys.periods(home, name):
                kids = kids_of(home, name, each)
                if scope is not None:
                    secret = scope_keys.load(home, name, each)
                    own = None if secret is None else scope_keys.scope_of(secret, scope)
                    kids = [kid for kid in kids if Kid.parse(kid).scope == own]
                found.setdefault(name, []).extend(kids)
    except FormatError as error:
        raise ConfigurationError(error.message, where="period", expected=error.expected, found=error.found) from error
    return {name: kids for name, kids in found.items() if kids}


def _no_key(home: HomeDir, period: str | None, subsystem: str | None, scope: str | None) -> ConfigurationError:
    kids = [Kid.parse(key.kid) for key in keys_in(home, subsystem)]
    if scope is None:
        known = ", ".join(dict.fromkeys(kid.text for kid in kids if not kid.scope)) or "none"
        return ConfigurationError(
            "no key of this period is here", where=subsystem, found=period, expected=f"a period of: {known}"
        )
    full = Counter((kid.subsystem, kid.period) for kid in set(kids) if kid.scope and period in (None, kid.period))
    shared = sorted(f"{name}/{each}" for (name, each), count in full.items() if count >= data_keys.MAX_SCOPES)
    return ConfigurationError(
        "no key of this value is here: no record that has it was sealed then, or its keys were erased with a period",
        where=subsystem,
        found=period,
        hint=(
            f"{', '.join(shared)} had more than {data_keys.MAX_SCOPES} values: the records of further ones are erased "
            "only with the period."
            if shared
            else "Give the value as the program logs it; `ipfs-logs keys periods` lists the keys."
        ),
    )


def _shred_of(
    home: HomeDir,
    subsystem: str,
    kids: Sequence[str],
    reason: str,
    by: str | None,
    *,
    whole_period: str | None,
) -> Iterator[ShreddedKeys]:
    """Destroy keys of a subsystem, at most 32 by one act; first those whose destruction has begun."""
    chosen = _next_keys(home, kids)
    if not chosen:
        yield ShreddedKeys(subsystem=subsystem, period=_period(kids), keys=(), batches=0)
    while chosen:
        result = _shred_by_one_act(home, subsystem, chosen, reason, by, whole_period)
        chosen = _next_keys(home, kids)
        yield result if chosen else replace(result, others=tuple(_others(home, subsystem, kids, whole_period)))
    for period in {Kid.parse(kid).period for kid in kids}:
        scope_keys.forget(home, subsystem, period)


def _next_keys(home: HomeDir, kids: Sequence[str]) -> list[str]:
    states = {kid: state(home, kid) for kid in kids}
    begun = [kid for kid in kids if states[kid] == "shredding"]
    return begun[:_MAX_KEYS] or [kid for kid in kids if states[kid] != "shredded"][:_MAX_KEYS]


def _others(home: HomeDir, subsystem: str, kids: Sequence[str], whole_period: str | None) -> Iterator[str]:
    """Yield the keys that were made since, for the same periods and values."""
    chosen = {(kid.period, kid.scope) for kid in map(Kid.parse, kids)}
    for period in {Kid.parse(kid).period for kid in kids}:
        for kid in kids_of(home, subsystem, period):
            parsed = Kid.parse(kid)
            is_chosen = whole_period is not None or (parsed.period, parsed.scope) in chosen
            if is_chosen and state(home, kid) != "shredded":
                yield kid


def _period(kids: Sequence[str]) -> str:
    periods = sorted({Kid.parse(kid).period for kid in kids}, key=lambda period: (bounds(period), period))
    return periods[0] if len(periods) == 1 else f"{periods[0]}..{periods[-1]}"


def _shred_by_one_act(
    home: HomeDir, subsystem: str, chosen: Sequence[str], reason: str, by: str | None, whole_period: str | None
) -> ShreddedKeys:
    act = _act_of(home, chosen) or _drawn(chosen, reason, by)
    for kid in act.keys:
        key_shredding.begin_shred(home, kid, act.encode(None))
    sealed = _sealed(home, subsystem, act)
    batches = _refuse_if_held(home.subsystem_dir(subsystem), act.keys)
    known = [load(home, kid) for kid in act.keys]
    pseudonyms = () if whole_period is None else _erase_pseudonyms(home, subsystem, whole_period)
    for kid in act.keys:
        key_shredding.finish_shred(home, kid)
    return ShreddedKeys(
        subsystem=subsystem,
        period=_period(act.keys),
        keys=act.keys,
        batches=batches,
        log=sealed.log,
        index=sealed.index,
        reason=act.reason,
        elsewhere=tuple(key.kid for key in known if key.recipient is not None and not key.wrapped_for),
        pseudonyms=pseudonyms,
    )


def _erase_pseudonyms(home: HomeDir, subsystem: str, period: str) -> tuple[str, ...]:
    """Erase the keys of pseudonyms of all months that lie inside a period; return these months."""
    first, after = bounds(period)
    months = []
    for month in pseudonym_keys.periods(home, subsystem):
        begin, end = bounds(month)
        if first <= begin and end <= after:
            pseudonym_keys.remove(home, subsystem, month)
            months.append(month)
    return tuple(months)


def _act_of(home: HomeDir, begun: Sequence[str]) -> Act | None:
    """Read the act in the mark of a key whose destruction has begun; `None`: none has, or no mark can be read."""
    for kid in begun:
        with suppress(FormatError):
            act, _ = Act.decode(key_shredding.load_mark(home, kid))
            if act.act == "shred" and kid in act.keys:
                return act
    return None


def _drawn(kids: Sequence[str], reason: str, by: str | None) -> Act:
    try:
        return acts.draw("shred", reason=reason, by=by, keys=tuple(kids))
    except FormatError as error:
        raise ConfigurationError(error.message, expected=error.expected, found=error.found) from error


def _sealed(home: HomeDir, subsystem: str, act: Act) -> SealedAct:
    """Return the act in its batch; it is recorded unless a call before a crash has done so."""
    subsystem_dir = home.subsystem_dir(subsystem)
    return acts.find(subsystem_dir, act.id) or record_act(home, subsystem, act)


def _refuse_if_held(subsystem_dir: SubsystemDir, kids: Sequence[str]) -> int:
    """Refuse if a hold stands over records of a batch that is encrypted to one of these keys.

    Returns:
        Number of batches with these keys.
    """
    spans = [span for log_dir in LogDir.all_of(subsystem_dir) for span in _spans(log_dir, set(kids))]
    if spans:
        first, last = min(first for first, _ in spans), max(last for _, last in spans)
        what = f"the destruction of the keys of {_period(kids)}"
        acts.refuse_under_hold(subsystem_dir, what, first=first, last=last)
    return len(spans)


def _spans(log_dir: LogDir, kids: set[str]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the times, µs since 1970, of the records of each batch that is encrypted to one of the keys.

    In clear they are rounded to minutes, outwards: a hold is never missed.
    """
    through = log_dir.sealed_through()
    for index in range(0 if through is None else through[1] + 1):
        manifest = log_dir.sealed_batches.manifest(index)
        if kid_in(manifest) in kids:
            yield manifest.first, manifest.last


def shred_in_directory(
    directory: Path, period: str, *, reason: str, subsystem: str | None = None
) -> list[ShreddedKeys]:
    """Destroy the secrets of issued keys in a key directory that is not that of a home.

    The act goes into the log where the home is: `shred` there.

    Args:
        directory: the key directory.
        period: the period.
        reason: why; it stays in the mark.
        subsystem: only its keys; `None`: those of all subsystems.

    Raises:
        ConfigurationError: there is no such key.
        OSError: the disk refuses; call this again.
    """
    wanted: dict[str, list[str]] = {}
    for key in keys_in(directory, subsystem):
        if key.period == period:
            wanted.setdefault(key.subsystem, []).append(key.kid)
    if not wanted:
        raise ConfigurationError("no key of this period is here", where=directory, found=period)
    mark: Mapping[str, Any] = {"reason": reason, "time": int(time.time() * 1_000_000)}
    shredded = []
    for name, kids in wanted.items():
        chosen = [kid for kid in kids if state(directory, kid) != "shredded"]
        for kid in chosen:
            key_shredding.begin_shred(directory, kid, mark)
            key_shredding.finish_shred(directory, kid)
        shredded.append(ShreddedKeys(subsystem=name, period=period, keys=tuple(chosen), batches=None, reason=reason))
    return shredded
