"""Forks beside a dictConfig, and hooks of other libraries that log around a fork: no deadlock, no number used twice."""

from __future__ import annotations

from tests import programs
from tests.test_fork import FORKS_WARN


def test_forks_beside_a_thread_that_changes_the_settings(home):
    """One thread runs dictConfig with other settings again and again while another forks: neither waits for ever."""
    programs.run(
        home,
        """
        import faulthandler; faulthandler.dump_traceback_later(30, exit=True)
        def reconfigure(records): configure(batch={"records": records}, keeper="none", flush_timeout=0)
        reconfigure(100)
        log.info("first")
        forked = threading.Event()
        def change():
            n = 0
            while not forked.is_set():
                n += 1
                reconfigure(100 + n % 2)
                log.info("changed")
        thread = threading.Thread(target=change); thread.start()
        for _ in range(60):
            pid = os.fork()
            if pid == 0: os._exit(0)
            os.waitpid(pid, 0)
        forked.set(); thread.join()
        """,
        options=FORKS_WARN,
        deadline_s=60,
    ).clean()
