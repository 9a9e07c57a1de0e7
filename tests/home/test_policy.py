from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Batch, Encrypt, Settings
from ipfs_log_handlers.config.retention import RetentionRule
from ipfs_log_handlers.home import policy
from ipfs_log_handlers.home.policy import Policy, load_policy, store_policy
from tests.support.encrypted import ALICE_KEY
from tests.support.logging_home import refuse

FALLBACK = Policy.default(Path("/h"), "logs")
GIVEN = Policy.of(
    Settings(
        home=Path("/h"),
        kubo=("http://127.0.0.1:5001", "http://127.0.0.1:5002"),
        replicas=2,
        batch=Batch(records=5, bytes=4096, seconds=0.5),
        keep_days=0,
        max_spool_bytes=1 << 20,
        max_store_bytes=0,
        publish=True,
        encrypt=Encrypt(recipients=(ALICE_KEY,), period="day", expose=("levels",)),
        retention=RetentionRule(days=400.0, apply="auto"),
    ),
    subsystems.get("audit"),
)
ODD: list[Any] = [None, True, -1, 1.5, "1", [], {}, float("nan"), float("inf"), 1 << 80, "x" * 1000, [1]]


class TestPolicy:
    def test_both_ways(self, tmp_path: Path) -> None:
        """What a handler was told is what the keeper of another process reads: also 0 days and 0 bytes."""
        store_policy(tmp_path / "settings.json", GIVEN)
        assert GIVEN == load_policy(tmp_path / "settings.json", FALLBACK)
        assert GIVEN == Policy.from_json(json.loads(json.dumps(GIVEN.as_json())), FALLBACK)

    def test_unbounded_store(self) -> None:
        """`max_store_bytes: None` is a setting, not a missing one."""
        assert Policy.from_json(FALLBACK.as_json(), GIVEN).max_store_bytes is None

    def test_configured_seconds_hold_where_little_is_logged_too(self) -> None:
        """Home rule 12: the longer time is a default; a header that names only `seconds` means exactly these."""
        assert (10.0, 60.0) == (FALLBACK.seconds, FALLBACK.quiet_seconds)
        assert GIVEN.seconds == GIVEN.quiet_seconds != FALLBACK.seconds
        assert 3 == Policy.from_json({"seconds": 3}, FALLBACK).quiet_seconds
        assert 60.0 == Policy.from_json({}, FALLBACK).quiet_seconds

    def test_encryption_is_never_lost_by_mistake(self) -> None:
        """A header of an earlier release does not say it: then it stays; what cannot be read is not clear text."""
        members = GIVEN.as_json()
        assert GIVEN.encrypt == Policy.from_json(members, FALLBACK).encrypt
        assert Policy.from_json({**members, "encrypt": None}, GIVEN).encrypt is None
        del members["encrypt"]
        assert GIVEN.encrypt == Policy.from_json(members, GIVEN).encrypt
        odds: list[object] = [True, 1, "x", [], {}, {"recipients": ["age1x"], "period": "month", "expose": []}]
        for odd in odds:
            assert Encrypt() == Policy.from_json({**members, "encrypt": odd}, GIVEN).encrypt

    def test_of_the_subsystem(self) -> None:
        """Where nothing is configured, the subsystem's own number of records and its type hold."""
        assert (100, "audit_log") == (Policy.default(Path("/h"), "audit").records, GIVEN.type)
        assert "unknown_here" == Policy.default(Path("/h"), "unknown_here").type

    @pytest.mark.parametrize("content", [b"", b"x", b"[]", b"null", b"\xff", b"[" * 100_000])
    def test_damaged(self, tmp_path: Path, content: bytes) -> None:
        """Settings that cannot be read cost the defaults, nothing else."""
        (tmp_path / "s").write_bytes(content)
        assert FALLBACK == load_policy(tmp_path / "s", FALLBACK)
        assert FALLBACK == load_policy(tmp_path / "missing", FALLBACK)

    def test_every_setting_has_its_check(self) -> None:
        """Each setting has a check in `_CHECKS`: no setting of a header is replaced by its default unseen."""
        assert {*policy._CHECKS, "rules", "encrypt"} == set(Policy.__slots__)

    def test_not_readable_now(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 14: settings that cannot be read just now are no reason to go on with others."""
        store_policy(tmp_path / "settings.json", FALLBACK)
        refuse(monkeypatch, "open", OSError(errno.EMFILE, "too many"), times=1)
        with pytest.raises(OSError, match="too many"):
            load_policy(tmp_path / "settings.json", FALLBACK)
        assert FALLBACK == load_policy(tmp_path / "settings.json", FALLBACK)
        assert FALLBACK == load_policy(tmp_path / "missing.json", FALLBACK)

    @pytest.mark.parametrize("name", Policy.__slots__)
    @pytest.mark.parametrize("value", ODD, ids=repr)
    def test_odd_values(self, name: str, value: Any) -> None:
        """Home rule 14: an odd value in a foreign header is passed over, and the others count."""
        found = Policy.from_json({**GIVEN.as_json(), name: value}, FALLBACK)
        kind = type(getattr(FALLBACK, name))
        assert isinstance(getattr(found, name), (Encrypt, type(None)) if name == "encrypt" else (kind, int))
        assert all(getattr(found, each) == getattr(GIVEN, each) for each in Policy.__slots__ if each != name)
        json.dumps(found.as_json(), allow_nan=False)

    @given(
        st.dictionaries(st.sampled_from(Policy.__slots__), st.one_of(st.integers(), st.floats(), st.sampled_from(ODD)))
    )
    def test_anything(self, members: dict[str, Any]) -> None:
        """Whatever a header says, the policy can cut batches: whole numbers of at least one."""
        found = Policy.from_json(members, FALLBACK)
        assert all(type(value) is int and value >= 1 for value in (found.records, found.bytes, found.replicas))
