"""Compute `meta` and the zone map of a batch: for sealing, recounting and the query planner. No I/O."""
