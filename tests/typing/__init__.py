"""Calls that are never run: `make types` has mypy read them, from this checkout and against the built wheel."""
