"""Read and write the files of a home: one module for each kind of file, and `disk` for the operating system."""
