"""Pure tensor functions, in the order a batch meets them: eligible positions, the budget that turns
logits into inclusion probabilities, a design that draws the mask, and the corruption of masked tokens."""

from policylearn.masking.budget import budget, masked_total
from policylearn.masking.corruption import IGNORED, corrupt
from policylearn.masking.designs import DesignName, draw_mask, explore, independent, systematic
from policylearn.masking.eligibility import eligible_positions, special_table
from policylearn.masking.keys import Stream, example_keys, positions, uniforms

__all__ = [
    "IGNORED",
    "DesignName",
    "Stream",
    "budget",
    "corrupt",
    "draw_mask",
    "eligible_positions",
    "example_keys",
    "explore",
    "independent",
    "masked_total",
    "positions",
    "special_table",
    "systematic",
    "uniforms",
]
