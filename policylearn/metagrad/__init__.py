"""Engines for ∂(outer loss)/∂w through a window of optimiser steps, and the estimators that make it a policy gradient.

- `replay`: exact; walks back one recomputed step at a time, in memory that hardly grows with the window
- `finite_difference`: nearly; the same walk with two ordinary gradients per step, on any attention kernel and in bf16
- `unroll`: exact; keeps the graph of every step, with `higher`; the reference
- `one_step`: windows of one step, to first order; one outer gradient serves many batches, forward mode only

`walk` is what the first two share, `updates` the adjoints of AdamW, SGD and clipping.
"""
