"""Two backbones on one suite of probes: one table with paired intervals."""
