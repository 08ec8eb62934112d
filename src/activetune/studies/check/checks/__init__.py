"""The checks, one file each; the file's name is the kind of its findings."""
