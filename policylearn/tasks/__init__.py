"""What it is all for: one file per kind of task. Texts with one target each have a `Readout`, questions have none."""
