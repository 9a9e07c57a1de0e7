"""Let the children of a Celery worker outlive the thread that forked them; for `celery worker --include`.

Without this module, a Celery worker sometimes does not end after SIGTERM, with and without a handler of this package:

1. Each child asks Linux for SIGKILL when its parent ends (`celery.concurrency.prefork.process_initializer`, since
   celery/celery#6942). For Linux, the parent is the thread that forked the child (prctl(2), PR_SET_PDEATHSIG).
2. With a broker that has no event loop, such as a directory, a thread of the pool forks each child that takes the place
   of an ended one. This thread ends when a warm shutdown begins, and Linux kills the children that it has forked.
3. The children share a lock, and the one that waits for the next task holds it. If it is killed before it has read that
   it shall end, the lock stays held, and the main process waits for the lock at its exit, for ever
   (`billiard.pool.Pool._help_stuff_finish`).
"""

from __future__ import annotations

from billiard.util import set_pdeathsig
from celery.signals import worker_process_init


@worker_process_init.connect
def outlive_thread(**_: object) -> None:
    """Ask Linux to send no signal when the thread that forked this child ends."""
    set_pdeathsig(0)
