"""Work on a home, one thread: lines become a batch, a batch is shipped, space is kept; `loop` says when."""
