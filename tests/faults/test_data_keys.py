"""A process is killed, or the disk refuses, at each call with which keys of periods are made and destroyed.

After each case, of making: whatever a process encrypted to a key can be opened, and a next process gets a key. Of
destroying: the state is `shredded` only if no byte of the secret is left; else the next call goes on to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import syscall_faults
from tests.support.syscall_faults import CHANGES, FAULTS

BODY = """
    import ctypes
    from pathlib import Path
    import pyrage
    from ipfs_log_handlers.config import Encrypt
    from ipfs_log_handlers.home import data_keys, key_shredding
    from ipfs_log_handlers.home.key_directory import KeyFiles, keys_in, state
    from ipfs_log_handlers.home.layout import HomeDir
    from tests.support.encrypted import ALICE, ALICE_KEY, SEALED
    library = ctypes.CDLL(None)
    alice = [pyrage.x25519.Identity.from_str(ALICE)]

    def encrypted(home):
        key = data_keys.key_for(HomeDir(Path(home)), "audit", Encrypt(recipients=(ALICE_KEY,)), SEALED)
        recipient = pyrage.x25519.Recipient.from_str(key.recipient)
        return key.kid, pyrage.encrypt(b"a batch", [recipient])

    def opened(home, kid, batch):
        secret = data_keys.unwrap(HomeDir(Path(home)), kid, alice)
        assert pyrage.decrypt(batch, [pyrage.x25519.Identity.from_str(secret)]) == b"a batch"

    def step(work, home, told):
        # The batch goes to a file of the parent, so that a killed child has written it or has not.
        os.environ.update(told); library.faults_read()
        try:
            work(home)
            done = True
        except OSError:
            done = False
        finally:
            os.environ["FAULTS_AT"] = "0"
        Path(f"{home}.seen").write_text(f"{int(done)} {library.faults_seen()}")

    def forked(work, *args):
        pid = os.fork()
        if pid == 0:
            try: step(work, *args)
            except BaseException: sys.excepthook(*sys.exc_info()); os._exit(1)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        assert status in (0, signal.SIGKILL), (args, status)
        return Path(f"{args[0]}.seen").read_text().split() if status == 0 else ["killed", "0"]

    def make(home):
        kid, batch = encrypted(home)
        Path(f"{home}.batch").write_bytes(kid.encode() + b"\\n" + batch)

    def shred(home):
        for known in keys_in(HomeDir(Path(home))):
            key_shredding.begin_shred(HomeDir(Path(home)), known.kid, {"reason": "asked for"})
            key_shredding.finish_shred(HomeDir(Path(home)), known.kid)

    def check_making(home, told):
        done, seen = forked(make, home, told)
        batch = Path(f"{home}.batch")
        if batch.exists():
            opened(home, *(part if n else part.decode() for n, part in enumerate(batch.read_bytes().split(b"\\n", 1))))
        assert batch.exists() or done in ("killed", "0"), done
        opened(home, *encrypted(home))
        usable = [key for key in keys_in(HomeDir(Path(home))) if key.damage is None]
        assert len(usable) == 1 and not list(Path(home).rglob("*.tmp")), keys_in(HomeDir(Path(home)))
        return int(seen)

    def check_shredding(home, told):
        kid, batch = encrypted(home)
        files = KeyFiles.of(HomeDir(Path(home)), kid)
        secret = files.wrapped.read_bytes()
        os.link(files.wrapped, f"{home}.second-name")
        done, seen = forked(shred, home, told)
        found = state(HomeDir(Path(home)), kid)
        if found == "present":
            opened(home, kid, batch)
        if found == "shredded":
            assert not files.wrapped.exists()
            left = Path(f"{home}.second-name").read_bytes()
            assert not any(secret[start : start + 8] in left for start in range(len(secret) - 8))
        if done == "1":
            assert found == "shredded", found
        other, batch = encrypted(home)
        assert (other == kid) == (found == "present"), (found, other)
        opened(home, other, batch)
        shred(home)
        assert {key.state for key in keys_in(HomeDir(Path(home)))} == {"shredded"}
        assert not list(Path(home).rglob("*.age*"))
        return int(seen)

    most = 0
    for name, told in CASES:
        most = max(most, (check_making if name.startswith("make") else check_shredding)(str(Path(NEXT_TO, name)), told))
    print(most)
"""


def sweep(tmp_path: Path, work: str, faults: Sequence[tuple[str, int]], least: int) -> None:
    """Let each fault happen at every call that the work makes."""
    calm = f"{work}-calm"
    calls = syscall_faults.run_cases(tmp_path, BODY, [(calm, syscall_faults.variables(tmp_path / calm, calls=CHANGES))])
    assert calls >= least
    cases = []
    for fault, times in faults:
        for at in range(1, calls + 1):
            name = f"{work}-{fault}-{times}-{at}"
            told = syscall_faults.variables(tmp_path / name, fault, calls=CHANGES, at=at, times=times)
            cases.append((name, told))
    syscall_faults.run_cases(tmp_path, BODY, cases)


@pytest.mark.parametrize(("work", "least"), [("make", 12), ("shred", 8)])
def test_killed_at_every_call(tmp_path, work, least):
    """Before each call, which is after the one before it."""
    sweep(tmp_path, work, [("kill-before", 1)], least)


@pytest.mark.soak
@pytest.mark.parametrize(("work", "least"), [("make", 12), ("shred", 8)])
def test_every_fault_at_every_call(tmp_path, work, least):
    """Each fault at each call."""
    sweep(tmp_path, work, FAULTS, least)
