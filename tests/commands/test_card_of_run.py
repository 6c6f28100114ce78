"""The card of a policy that a run has learned."""

import pytest

from policylearn.commands.card_of_run import _heading, _made_from, use_of
from policylearn.problems.kinds import problem_of
from policylearn.runs.state import State

BART = (
    'model.architecture={model_type="bart", d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, '
    "decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32}"
)


@pytest.mark.parametrize(
    "override, collator",
    [
        ("model.max_length=64", "PolicyCollator"),
        (BART, "DenoisingCollator"),
        ("inner.objective=masked_diffusion", "DiffusionCollator"),
    ],
)
def test_the_collator_is_that_of_the_models_it_was_learned_for(tiny, override, collator):
    problem = problem_of(tiny(override))
    card = _heading(problem.config, use_of(problem))
    assert f"from policylearn import {collator}" in card
    assert any(f'{collator}.from_pretrained("this folder"' in line for line in card)


def test_of_masked_diffusion_every_rate_is_told(tiny):
    assert "- rate: 0.15, unit: token, design: systematic" in _made_from(tiny(), {}, {}, State())
    told = _made_from(tiny("inner.objective=masked_diffusion"), {}, {}, State())
    assert "- rate: every one, unit: token, design: systematic" in told
