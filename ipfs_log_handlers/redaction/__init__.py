"""Find and hide secret values: in what a program logs, and in what a reader is shown. Nothing here does I/O."""
