"""Query logs: filters, a plan of the batches to read, a merge by time, and counts of the matches."""
