"""Check that a log is whole and unchanged."""
