"""One file for each thing on the disk, and the rules of the home that it keeps."""
