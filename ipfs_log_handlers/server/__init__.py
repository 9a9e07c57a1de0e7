"""Serve the records of any source over HTTP: the page, its JSON API, the live tail, and metrics. It only reads."""
