"""The writer, by subject."""
