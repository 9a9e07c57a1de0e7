"""A home that somebody else made is read without harm to the files, the network, the memory of who reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers.format import merkle, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.encoding import JSONL
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.payload import Encoder, prefix
from ipfs_log_handlers.home import head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeKubo
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.verbs import READING

pytestmark = pytest.mark.slow  # each verb runs many times

SECRET = "the-secret-of-the-reader"
WRITING = [["ship", "--timeout", "1"], ["ship", "--again", "--timeout", "1"], ["doctor", "--repair"]]
FETCHING = [["cat", "--fetch"], ["query", "--fetch"], ["verify", "--fetch"], ["doctor", "--fetch"]]
MIB = 1 << 20


@pytest.fixture
def evil() -> Iterator[FakeKubo]:
    """Start a store of the person who made the home."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture
def given(home: Path, evil: FakeKubo) -> Path:
    """Make a home that names this store, which alone has one of its payloads; something is left to ship."""
    sample_homes.log(home, range(20), kubo=evil.url)
    sample_homes.ship(home, evil.url)
    sample_homes.strip(home, 1)
    sample_homes.log(home, range(20, 25), kubo=evil.url)
    evil.requests.clear()
    return home


def authorizations(daemon: FakeKubo) -> list[str]:
    """Return the credentials that a store was sent."""
    return [request.headers["authorization"] for request in daemon.requests if "authorization" in request.headers]


@pytest.mark.parametrize("own", ["http://127.0.0.1:9", ""], ids=["a store of one's own", "no store"])
@pytest.mark.parametrize("verb", [*READING, *WRITING, *FETCHING], ids=" ".join)
def test_no_verb_gives_a_token_to_a_store_that_only_the_home_names(given, evil, verb, own):
    """The token in the environment belongs to the store in the environment, and to no other."""
    run(*verb, home=given, IPFS_LOGS_TOKEN=f"bearer:{SECRET}", IPFS_LOGS_KUBO=own)

    assert [] == authorizations(evil)


def test_a_token_on_the_command_line_needs_an_address(given, evil):
    """Without one it would go where the home points; nothing is sent, and the error names the store."""
    ended = run("ship", "--token", f"bearer:{SECRET}", home=given)

    assert 2 == ended.code
    assert f"only addresses from the home: {evil.url}" in ended.err
    assert [] == evil.requests
    assert 0 == run("ship", "--kubo", evil.url, "--token", f"bearer:{SECRET}", home=given).code
    assert f"Bearer {SECRET}" in authorizations(evil)


@pytest.mark.parametrize("verb", READING, ids=" ".join)
def test_reading_asks_no_store_that_only_the_home_names(given, evil, verb):
    """What only that store has is reported as absent, with what to do; nothing goes over the network."""
    ended = run(*verb, home=given)

    assert [] == evil.requests
    if verb == ["cat"]:
        assert 5 == ended.code
        assert f"no store was asked; found {evil.url}" in ended.err
        assert "--fetch" in ended.err
        assert 15 == len(ended.objects)
    if verb == ["doctor"]:
        assert f"{evil.url} was not asked" in ended.out


def test_fetch_asks_without_a_token(given, evil):
    """Asked for, a payload comes from the store that the home names."""
    ended = run("cat", "--fetch", home=given, IPFS_LOGS_TOKEN=f"bearer:{SECRET}", IPFS_LOGS_KUBO="http://127.0.0.1:9")

    assert (0, 25) == (ended.code, len(ended.objects))
    assert evil.requests
    assert [] == authorizations(evil)


def test_a_store_of_the_user_is_asked_with_its_token(given, evil):
    """Named in the environment it is the user's own, wherever else it is named."""
    ended = run("cat", home=given, IPFS_LOGS_TOKEN=f"bearer:{SECRET}", IPFS_LOGS_KUBO=evil.url)

    assert (0, 25) == (ended.code, len(ended.objects))
    assert {f"Bearer {SECRET}"} == set(authorizations(evil))


# -- files

FILES = [
    "writer.key",
    "keeper.lock",
    "logs.list",
    "reserve",
    "audit/head",
    "audit/former/000-00000000/ended",
    "audit/order",
    "audit/beginning",
    "audit/settings.json",
    "audit/shipped/0123456789abcdef",
    "audit/batches/index",
    "audit/batches/000/000000.car",
    "audit/batches/000/000000.payload.car",
    "audit/spool/0000000000000000-0.seg",
    "audit/quarantine/0000000000000000-0.1",
    "requests/1-abcdef",
]

DIRECTORIES = [
    "audit",
    "audit/batches",
    "audit/batches/000",
    "audit/former/000-deadbeef/batches",
    "audit/former",
    "audit/shipped",
    "audit/spool",
    "audit/archived",
    "audit/quarantine",
    "requests",
]


@pytest.fixture
def small(home: Path) -> Path:
    """Make a home with something of everything, and no store."""
    sample_homes.make(home, 10)
    sample_homes.log(home, range(10, 13))
    return home


def put_pipe(path: Path) -> None:
    """Put a pipe in the place of a file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_the_place_of_a_file_holds_up_no_verb(small, name):
    """It is not opened, so that nobody waits for a writer; a verb that needs the file says what is there."""
    put_pipe(small / name)

    if name in ("writer.key", "audit/head", "audit/batches/000/000000.car"):
        assert "a pipe" in run("verify", home=small).out
    for verb in [*READING, *WRITING]:
        ended = run(*verb, home=small)
        assert ended.code in range(6), ended.err


@pytest.mark.parametrize("name", DIRECTORIES)
def test_no_verb_touches_what_a_link_leads_to(small, tmp_path, name):
    """A directory of the reader's own, behind a link, keeps every file, byte and mode, and none of it is shown."""
    mine = tmp_path / "mine"
    for path in ("project/work.tmp", "000/000000.car", "000/work.tmp", "head", "old.json", "1-abc", "spool/a.tmp"):
        (mine / path).parent.mkdir(parents=True, exist_ok=True)
        (mine / path).write_bytes(b"my own secret work")
        os.utime(mine / path, (0, 0))
    shutil.rmtree(small / name, ignore_errors=True)
    (small / name).parent.mkdir(parents=True, exist_ok=True)
    (small / name).symlink_to(mine)
    before = {path: (path.stat().st_mode, path.is_file() and path.read_bytes()) for path in mine.rglob("*")}

    for verb in [*READING, *WRITING]:
        ended = run(*verb, home=small)
        assert "my own secret" not in ended.out + ended.err
    assert before == {path: (path.stat().st_mode, path.is_file() and path.read_bytes()) for path in mine.rglob("*")}


@pytest.mark.parametrize(
    "name", ["audit/head", "audit/settings.json", "writer.key", "audit/spool/0000000000000000-0.seg"]
)
def test_a_sparse_file_of_a_terabyte_is_not_read(small, name):
    """A file larger than its kind can be is reported at once."""
    (small / name).touch(mode=0o600)
    os.truncate(small / name, 1 << 40)

    for verb in [*READING, *WRITING]:
        run(*verb, home=small)


# -- memory


def test_a_bomb_is_refused_in_bounded_memory(home):
    """Some kilobytes that inflate to a line of 250 MiB, under a manifest that admits it, are damage and no more."""
    raw, encoder = 250 * MIB, Encoder(1)
    subsystem_dir = HomeDir(home).subsystem_dir("audit")
    subsystem_dir.path.mkdir(parents=True)
    key = SecretKey.generate(bytes(range(32)))
    HomeDir(home).key.write_text(f"{key.text}\n")
    HomeDir(home).key.chmod(0o600)
    log = log_name(key.name, "audit", "00000000")
    data = prefix(bytes(32), log, 0) + b"".join(encoder.add(b"a" * MIB) for _ in range(raw // MIB)) + encoder.finish()
    blocks = list(unixfs.build([data]))
    manifest = Manifest(
        log=log, index=0, prev=None, jump=None, edge=b"", sealed=0, first=0, last=0, records=1, dropped={},
        payload=blocks[-1][0], size=len(data), raw=raw, encoding=JSONL, root=bytes(32), meta={}, stats={},
        sources=(("0" * 16, 1, 1, 1),), evidence=(),
    )  # fmt: skip
    note = Checkpoint(log, 1, merkle.edge_root(manifest.edge_after())).signed(key)
    block = Head(log=log, index=0, manifest=manifest.cid, checkpoint=note).encode()
    first = [(manifest.cid, manifest.encode()), (Cid.of(DAG_CBOR, block), block), *blocks]
    Batches(subsystem_dir.current.batches).write(0, manifest.cid, Cid.of(DAG_CBOR, block), first)
    head.store(subsystem_dir.current.head, HeadState(log=log, index=0, block=block, records=1))

    for verb in ("cat", "verify", "doctor"):
        code, peak = _peak(verb, home)
        assert code == {"cat": 3, "verify": 3}.get(verb, code)
        assert peak < 300 * MIB


def _peak(verb: str, home: Path) -> tuple[int, int]:
    """Return the exit code and the peak memory of a verb, in bytes."""
    code = f"""
        import resource, subprocess, sys
        ended = subprocess.run([sys.executable, "-m", "ipfs_log_handlers", "--home", {str(home)!r}, {verb!r}],
                               capture_output=True)
        print(ended.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    """
    program = "\n".join(line.strip() for line in code.splitlines())
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    exit_code, kilobytes = map(int, ended.stdout.split())
    return exit_code, kilobytes * (1 if sys.platform == "darwin" else 1024)
