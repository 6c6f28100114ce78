"""The card of a policy that a run has learned."""

import pytest

from policylearn.artefact import load_policy
from policylearn.commands.card_of_run import _compared, _heading, _made_from, use_of
from policylearn.commands.score import export_scorer
from policylearn.problems.of_config import problem_of
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
def test_the_collator_is_that_of_the_models_it_was_learned_for(tiny, tmp_path, override, collator):
    problem = problem_of(tiny(override))
    card = _heading(problem.config, use_of(problem))
    assert f"from policylearn import {collator}" in card
    assert any(f'{collator}.from_pretrained("this folder"' in line for line in card)
    assert load_policy(export_scorer(problem, "idf", tmp_path / "policy")).use == use_of(problem)


def test_of_masked_diffusion_every_rate_is_told(tiny):
    assert "- rate: 0.15, unit: token, design: systematic" in _made_from(tiny(), {}, {}, State())
    told = _made_from(tiny("inner.objective=masked_diffusion"), {}, {}, State())
    assert "- rate: every one, unit: token, design: systematic" in told


def test_arms_that_differ_in_more_than_masks_are_named_and_ways_to_score_not_called_test_sets():
    one = {"scores": [0.5, 0.6], "masked_tokens": [9, 9]}
    result = {"metric": "accuracy", "arms": {"random": one, "learned": one}, "extra": {"probe@200": {"random": [0.4]}}}
    assert _compared(result)[3].endswith(
        "learned − random = +.000): it is level with random, but there is no interval, so this may be chance."
    )
    assert _compared(result)[5] == "Fresh models trained under each policy's masks, scored on test, paired seeds:"
    assert "| random, probe@200 | 0.400 | 0.400 | |" in _compared(result)
    result["arms"] |= {"multitask": one | {"course": "labels 16"}, "labels-only": one | {"course": "labels 16 of 0"}}
    assert _compared(result)[5].endswith(" (multitask, labels-only: other in more than masks):")
