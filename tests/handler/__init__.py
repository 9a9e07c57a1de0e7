"""The handler, by subject."""
