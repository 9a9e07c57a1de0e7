"""Encrypted batches: what the keeper writes of them, who can open them, and what a crash leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.encryption import Envelope, padme, reveal
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.home import data_keys
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.keeper import log_writer
from ipfs_log_handlers.keeper.seal import Sealer
from tests.support import forked, kill_steps
from tests.support.encrypted import ALICE, ALICE_KEY, BOB
from tests.support.indexed_homes import index, pages_of, small_pages
from tests.support.logging_home import dropped, lines, put_segment, record, seal_all, seal_home

ENCRYPT = Encrypt(recipients=(ALICE_KEY,))
MARCH_END_US = 1_775_001_600_000_000
"""µs since 1970: 2026-04-01T00:00:00Z."""


def _seqs(home: Path, identity: str = ALICE) -> list[int]:
    with open_home(home).dataset(verify="chain", identity=identity) as dataset:
        return [found["seq"] for found in dataset]


def _manifests(subsystem_dir: SubsystemDir) -> list[Any]:
    batches = Batches(subsystem_dir.current.batches)
    return [batches.manifest(number) for number in batches.credible_indexes()]


def _ok(home: Path, identity: str | None = None) -> tuple[bool, int, int]:
    (report,) = open_home(home).verify(identity=identity)
    return report.ok, report.encrypted, report.set_back


def _secret_lines() -> bytes:
    """Return lines whose texts are in no other file of a home."""
    return b"".join(
        line.record(record(seq, event=f"quagga {seq} came in", customer=f"zebra-{seq * 7919}", at_the_gate=True))
        for seq in range(1, 41)
    )


class TestContent:
    def test_records_are_for_the_recipients(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """The identity of a recipient opens them; without it all but the records is verified, and that holds."""
        put_segment(subsystem_dir, _secret_lines(), encrypt=ENCRYPT, records=10)
        home = subsystem_dir.path.parent
        assert seal_all(sealer()) == 4
        assert _seqs(home) == list(range(1, 41))
        assert _ok(home, ALICE) == (True, 0, 0)
        assert _ok(home) == (True, 4, 0)
        assert _ok(home, BOB) == (True, 4, 0)

    def test_manifest(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """It names the key of the month, the same for every batch, and hides the claims that the records give."""
        put_segment(subsystem_dir, _secret_lines(), encrypt=ENCRYPT, records=20)
        seal_all(sealer())
        one, two = _manifests(subsystem_dir)
        (key,) = data_keys.keys_in(HomeDir(subsystem_dir.path.parent))
        for manifest in (one, two):
            envelope = Envelope.of(manifest)
            assert (envelope.kid.text, envelope.recipient) == (key.kid, key.recipient)
            assert (manifest.encoding, manifest.meta, manifest.stats) == ("jsonl+zstd+age", {}, {})
            assert manifest.raw == padme(manifest.raw)
        secret = data_keys.unwrap(HomeDir(subsystem_dir.path.parent), key.kid, [_opener(ALICE)])
        opened = reveal(one, secret)
        assert opened.meta["record_count"] == 20
        assert opened.stats["levels"] == {"info": 20}
        assert "customer" not in json.dumps(one.ext["ipfs-logs/encryption"]["kid"])

    def test_nothing_of_a_record_is_in_a_file(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No eight bytes of any line are in a block, in the head, in an index page, or in the list of batches."""
        content = _secret_lines()
        put_segment(subsystem_dir, content, encrypt=ENCRYPT, records=4)
        made = sealer()
        assert seal_all(made) == 10
        small_pages(monkeypatch, 4)
        index(subsystem_dir)
        assert pages_of(subsystem_dir).firsts()
        windows = {content[at : at + 8] for at in range(len(content) - 7)}
        looked = 0
        for path in (subsystem_dir.path.parent / "keys", subsystem_dir.current.batches, subsystem_dir.current.head):
            for file in [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]:
                data = file.read_bytes()
                looked += len(data)
                found = {data[at : at + 8] for at in range(len(data) - 7)} & windows
                assert not found, (file, found)
        assert looked > 10_000
        assert any(b'"customer":"zebra-' in content[at : at + 40] for at in range(len(content)))

    def test_exposed_members(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """What `expose` names stays in clear, and nothing else."""
        encrypt = Encrypt(recipients=(ALICE_KEY,), expose=("levels", "events"))
        put_segment(subsystem_dir, lines(1, 3), encrypt=encrypt)
        seal_all(sealer())
        (manifest,) = _manifests(subsystem_dir)
        assert manifest.stats == {"levels": {"info": 3}, "events": ["e"]}
        assert _ok(subsystem_dir.path.parent, ALICE) == (True, 0, 0)

    def test_batches_in_clear_before_and_after(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """A log may hold both; a minute in an encrypted manifest is no clock that was set back."""
        made = sealer()
        for number, encrypt in enumerate((None, ENCRYPT, None, ENCRYPT)):
            put_segment(subsystem_dir, lines(number + 1, number + 1), number=number, encrypt=encrypt)
            assert seal_all(made) == 1
        assert [bool(manifest.ext) for manifest in _manifests(subsystem_dir)] == [False, True, False, True]
        assert _seqs(subsystem_dir.path.parent) == [1, 2, 3, 4]
        assert _ok(subsystem_dir.path.parent, ALICE) == (True, 0, 0)
        assert _ok(subsystem_dir.path.parent) == (True, 2, 0)

    def test_a_batch_without_records_is_in_clear(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """Counts of dropped records are in every manifest in clear; there is nothing to hide."""
        put_segment(subsystem_dir, dropped("queue", 5), encrypt=ENCRYPT)
        seal_all(sealer())
        (manifest,) = _manifests(subsystem_dir)
        assert (manifest.records, manifest.dropped, manifest.ext) == (0, {"queue": 5}, {})
        assert _ok(subsystem_dir.path.parent) == (True, 0, 0)

    def test_large_batches_stay_one_block(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Padding and age are counted before: a payload that would fill a block does not need a second one."""
        noise = (
            f"{seq:x}" + "".join(f"{hash((seq, at)) & 0xFFFFFFFF:08x}" for at in range(2000)) for seq in range(1, 161)
        )
        content = b"".join(line.record(record(seq, event=text)) for seq, text in enumerate(noise, 1))
        put_segment(subsystem_dir, content, encrypt=ENCRYPT, records=10_000, bytes=8 << 20)
        assert seal_all(sealer()) > 1
        sizes = [manifest.size for manifest in _manifests(subsystem_dir)]
        assert (1 << 20) * 0.8 < max(sizes) <= 1 << 20
        assert len(_seqs(subsystem_dir.path.parent)) == 160


class TestKeys:
    def test_at_the_edge_of_a_period(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time in the manifest and the key are of one look at the clock, also if a month ends while it is made."""
        times = iter(
            [MARCH_END_US - 2, MARCH_END_US - 1, MARCH_END_US - 1, MARCH_END_US, MARCH_END_US, MARCH_END_US + 1]
        )
        monkeypatch.setattr(log_writer, "now_us", lambda: next(times))
        made = sealer()
        for number in range(3):
            put_segment(subsystem_dir, lines(number + 1, number + 1), number=number, encrypt=ENCRYPT)
            seal_all(made)
        kids = [Envelope.of(manifest).kid.period for manifest in _manifests(subsystem_dir)]
        assert kids == ["2026-03", "2026-04", "2026-04"]
        assert _seqs(subsystem_dir.path.parent) == [1, 2, 3]

    def test_without_the_library_the_lines_wait(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A keeper that cannot encrypt seals nothing, says why, and the next one seals all."""
        put_segment(subsystem_dir, lines(1, 3), encrypt=ENCRYPT)
        made = sealer()
        with monkeypatch.context() as missing:
            missing.setitem(sys.modules, "pyrage", None)
            with pytest.raises(ConfigurationError, match=r"pip install 'ipfs_log_handlers\[encrypt\]'"):
                seal_all(made)
        assert made.sealed is None
        assert seal_all(made) == 1
        assert _seqs(subsystem_dir.path.parent) == [1, 2, 3]
        assert _manifests(subsystem_dir)[0].ext

    def test_without_an_issued_key_the_lines_wait(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """A machine that makes no keys seals nothing until it has got one; who issued it can read."""
        put_segment(subsystem_dir, lines(1, 3), encrypt=Encrypt(recipients=()))
        made = sealer()
        with pytest.raises(data_keys.MissingKeyError, match="no key was issued for logs"):
            seal_all(made)
        assert made.sealed is None
        home, holder = HomeDir(subsystem_dir.path.parent), subsystem_dir.path.parent.parent / "auditor"
        now = log_writer.now_us()
        period = Kid.at(now, "logs", "month").period
        issued = data_keys.issue(holder, "logs", [period], [ALICE_KEY], now)
        data_keys.accept(home, issued, now)
        assert seal_all(made) == 1
        with open_home(home.path).dataset(identity=ALICE, key_directory=holder) as dataset:
            assert [found["seq"] for found in dataset] == [1, 2, 3]
        gaps: list[Any] = []
        with open_home(home.path).dataset(identity=ALICE, on_gap=gaps.append) as dataset:
            assert list(dataset) == []
        assert [(gap.kind, gap.records) for gap in gaps] == [("encrypted", 3)]

    def test_no_secret_is_left_in_the_home(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """The secret key of the period is in no file but in the one that is encrypted to the recipients."""
        put_segment(subsystem_dir, lines(1, 3), encrypt=ENCRYPT)
        seal_all(sealer())
        files = [path for path in subsystem_dir.path.parent.rglob("*") if path.is_file()]
        assert not [path for path in files if b"AGE-SECRET-KEY" in path.read_bytes()]


def _opener(identity: str) -> Any:
    import pyrage

    return pyrage.x25519.Identity.from_str(identity)


def _seal_and_die(home: Path, number: int) -> None:
    kill_steps.kill_at(number)
    seal_home(home)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, pytest.param(1, marks=pytest.mark.soak), pytest.param(2, marks=pytest.mark.soak)])
def test_killed_at_each_step(tmp_path: Path, share: int) -> None:
    """Whenever a keeper is killed, from making the key to the head file: each record is in one batch that opens."""
    number, ended = 1 + share, False
    while not ended:
        home = tmp_path / f"home-{number}"
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 3), encrypt=ENCRYPT)
        ended = forked.run_in_child(_seal_and_die, home, number)
        put_segment(subsystem_dir, lines(4, 5), number=1, encrypt=ENCRYPT)
        seal_home(home)
        assert _seqs(home) == [1, 2, 3, 4, 5], number
        assert _ok(home, ALICE)[:2] == (True, 0), number
        number += 9 if share == 0 else 3
    assert number > 100  # the kill reaches to the end of sealing
