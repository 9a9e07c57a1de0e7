"""Ask uWSGI about the process, if the program runs in this server.

uWSGI loads the application in its master process and forks the workers from there, without Python's hooks. This has two
effects that no other server has:

- A worker that is forked while another thread of the master holds the GIL never gets the GIL. So the master starts no
  thread.
- A worker ends by C's `exit`. This first runs the clean-up functions that C libraries registered after the application
  was loaded, and only then Python's `atexit`. If a worker was the first process to use OpenSSL, OpenSSL is unloaded by
  then, and the next hash kills the process. So the master uses OpenSSL once. If it cannot do so (`lazy-apps`), no batch
  is sealed at the end of a worker.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_master", "is_present", "threads_run"]


def _module() -> Any:
    return sys.modules.get("uwsgi")


def is_present() -> bool:
    """Return whether this process belongs to uWSGI."""
    return callable(getattr(_module(), "worker_id", None))


def is_master() -> bool:
    """Return whether this process loads the application, and will fork the workers or become one."""
    uwsgi = _module()
    try:
        return uwsgi is not None and not (uwsgi.worker_id() or uwsgi.mule_id() or uwsgi.i_am_the_spooler())
    except (AttributeError, TypeError):  # another module of that name
        return False


def threads_run() -> bool:
    """Return whether the program can use threads; older releases of uWSGI need `enable-threads` for that."""
    return bool(getattr(_module(), "has_threads", True))
