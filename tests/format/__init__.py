"""One file for each format: both ways, cut everywhere, every bit flipped."""
