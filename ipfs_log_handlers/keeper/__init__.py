"""Work on a home, one thread: `spool`, `draft` gather lines, `seal` makes a batch, `ship` sends, `loop` says when."""
