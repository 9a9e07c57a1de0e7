"""A home directory: one module for each thing in it, and `disk` for what they all ask of the operating system."""
