"""Engines for ∂(outer loss)/∂w, and the estimators that turn it into a policy gradient.

- `unroll`: exact, one graph through every step of a window, with `higher`; the reference
- `replay`: exact, one step at a time in reverse; memory hardly grows with the window
- `finite_difference`: the same walk, by differences of ordinary gradients; any attention kernel, bf16, compiled models
- `one_step`: windows of one step; one outer gradient serves many batches, forward mode only

`engines` has them by name, `updates` how to go back over an optimiser's update, `walk` what the second and third share.
"""
