"""The keeper, step by step, on a home made by hand."""
