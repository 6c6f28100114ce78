"""Engines for ∂(outer loss)/∂w, and the estimators that turn it into a policy gradient.

- `unroll`: exact, through every step of a window, with `higher`; the reference
- `one_step`: windows of one step; one outer gradient serves many batches, forward mode only
"""
