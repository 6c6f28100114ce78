"""Pure tensor functions, in the order a batch meets them: eligible positions, words and units, the rate of the day,
the budget that turns logits into inclusion probabilities, a design that draws the mask, and the corruption of masked
tokens."""

from policylearn.masking.batch import MaskedBatch
from policylearn.masking.budget import budget, masked_total
from policylearn.masking.corruption import IGNORED, corrupt
from policylearn.masking.designs import draw_mask, explore, independent, room, systematic
from policylearn.masking.eligibility import eligible_positions, special_table
from policylearn.masking.field import TextField, text_field
from policylearn.masking.keys import Stream, example_keys, positions, uniforms
from policylearn.masking.random_rate import rates_of, whole_rates
from policylearn.masking.schedule import rate_at
from policylearn.masking.units import at_leads, draw_units, leads, sizes, word_keys, word_starts
from policylearn.masking.vocabulary import Vocabulary, vocabulary

__all__ = [
    "IGNORED",
    "MaskedBatch",
    "Stream",
    "TextField",
    "Vocabulary",
    "at_leads",
    "budget",
    "corrupt",
    "draw_mask",
    "draw_units",
    "eligible_positions",
    "example_keys",
    "explore",
    "independent",
    "leads",
    "masked_total",
    "positions",
    "rate_at",
    "rates_of",
    "room",
    "sizes",
    "special_table",
    "systematic",
    "text_field",
    "uniforms",
    "vocabulary",
    "whole_rates",
    "word_keys",
    "word_starts",
]
