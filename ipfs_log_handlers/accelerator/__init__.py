"""Take plain records and read batches in C, where a compiler built the package: the same answers, at less cost."""
