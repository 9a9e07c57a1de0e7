"""The real Kubo daemon of the test suite: `build.py` finds or builds the binary, `daemon.py` runs it."""
