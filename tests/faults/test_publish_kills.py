"""kill -9 before and after each call with which a publication changes the disk: the next one goes on."""

from __future__ import annotations

import json

import pytest

from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.format.ipns_record import IpnsRecord
from ipfs_log_handlers.home import name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeKubo
from tests.support import programs, sample_homes

STEPS = """
    import shutil
    from ipfs_log_handlers import open_home
    from ipfs_log_handlers.keeper import preload, publish_now
    from tests.support.forked import run_in_child
    from tests.support.kill_steps import kill_at
    preload.load_for_sealing(); preload.load_for_store(KUBO)

    def publish(home, moment):
        kill_at(moment)
        open_home(home).publish([KUBO])

    step = STEP
    while True:
        home = f"{HOME}-{step}"
        shutil.copytree(HOME, home)
        ended = run_in_child(publish, home, step)
        assert run_in_child(publish, home, 0)
        if ended: break
        step += STRIDE
    print(json.dumps(step))
"""


def run_steps(home, daemon: FakeKubo, first: int, stride: int) -> int:
    """Kill a publication at every so-many-th step, each in a copy of the home; return the number of steps."""
    ended = programs.run(home, STEPS, KUBO=daemon.url, STEP=first, STRIDE=stride, deadline_s=600).clean()
    return int(json.loads(ended.out))


@pytest.mark.slow
@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("before", [False, True], ids=["first publication", "a later one"])
def test_a_publication_is_killed_between_every_two_steps(home, before, stride):
    """No record of a name is followed by one with a smaller number, nor by another one with the same number."""
    with FakeKubo() as daemon:
        sample_homes.log(home, range(20))
        sample_homes.ship(home, daemon.url)
        if before:
            sample_homes.publish(home, daemon.url)
            sample_homes.log(home, range(20, 40))
            sample_homes.ship(home, daemon.url)
        steps = run_steps(home, daemon, 1, stride)
        assert steps > 20

        records: dict[str, list[IpnsRecord]] = {}
        for request in daemon.requests:
            if request.command == "name/put":
                name = request.query["arg"]
                records.setdefault(name, []).append(IpnsRecord.open(daemon.uploaded_file(request), name))
        for sent in records.values():
            if not before:  # copies of a published home share its name, and each begins with the same number
                numbers = [record.sequence for record in sent]
                assert numbers == sorted(numbers)
                assert len({record.sequence for record in sent}) == len(set(sent))
        for step in range(1, steps + 1, stride):
            state = name_state.load(HomeDir(home.with_name(f"{home.name}-{step}")))
            assert state.is_published
            assert state.confirmed is not None
            head = HomeHead.decode(daemon.store.blocks[Cid.parse(state.confirmed.cid)])
            assert head.logs[0].index == (3 if before else 1)
