"""A policy as the data collator of any trainer: examples in, a masked batch out. Neither ray, higher nor datasets."""
