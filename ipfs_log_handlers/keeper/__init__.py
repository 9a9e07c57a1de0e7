"""Work on a home, one thread: `spool` and `draft` gather lines, `seal` makes them a batch, `ship` sends it, `loop` says when."""
