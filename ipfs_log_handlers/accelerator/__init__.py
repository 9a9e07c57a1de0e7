"""Take plain records in C where the package was built with a compiler: the same lines, at a smaller cost."""
