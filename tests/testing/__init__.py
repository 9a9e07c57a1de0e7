"""The part of the package that serves the tests of other programs."""
