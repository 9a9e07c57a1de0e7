"""Share a log with others: one CID for all of it, one file, or the tiles of a transparency log."""
