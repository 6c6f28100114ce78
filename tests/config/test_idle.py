"""Settings of which nothing comes are told, and are not refused."""

import pytest

from policylearn.config import Config, load_config
from policylearn.config.idle import idle_settings
from policylearn.problems.of_config import problem_of

DIFFUSION = "inner.objective=masked_diffusion"


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (["masking.draws=2"], ["draws"]),
        (["masking.draws=2", "masking.design=explore"], []),
        (["masking.draws=2", "evaluate.arms=[random,explore]"], []),
        (["masking.draws=2", "evaluate.arms=[mine]", 'evaluate.custom={mine={masking={design="explore"}}}'], []),
        (["masking.span_mean=5", "masking.span_longest=7"], ["span_mean", "span_longest"]),
        (["masking.span_mean=5", "masking.unit=span"], []),
        (["masking.rate=0.3", "masking.mask_share=0.5"], []),
        (["masking.rate=0.3", "masking.mask_share=0.5", DIFFUSION], ["rate", "mask_share"]),
        (["masking.rate=0.15", "masking.mask_share=0.8", DIFFUSION], []),
        (["masking.mask_share=0", "masking.random_share=0"], ["mask_share"]),
        (["masking.mask_share=0"], []),
        (["masking.random_share=0", "masking.random_token_ids=[7]"], ["random_token_ids"]),
    ],
)
def test_settings_of_which_nothing_comes_are_named(settings, idle):
    told = list[str]()
    problem_of(load_config(None, settings), tell=told.append)
    assert [line.split("  ")[0] for line in told] == [f"masking.{name}" for name in idle]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["evaluate.arms=[none,random,live,amlm]"], []),
        (["evaluate.arms=[none,random,live,amlm]", "evaluate.downstream=[probe,joint@20]"], ["of amlm", "of live"]),
        (["evaluate.arms=[random]", "evaluate.downstream=[joint]", "masking.unit=collocation"], []),
        (["evaluate.arms=[none]", "evaluate.downstream=[joint]", "masking.unit=collocation"], ["are of words"]),
        (["outer.adaptation=joint", "masking.unit=collocation"], ["are of words"]),
    ],
)
def test_what_masks_of_joint_tuning_are_not_is_told(settings, told):
    lines = idle_settings(load_config(None, settings))
    assert all(f"masks {what}" in line for what, line in zip(told, lines, strict=True))


def test_of_pictures_settings_of_words_are_named():
    given = {"patches": {"words": 8}, "scores": {"difference": {"anchor_share": 0.1, "anchors": 3}}}
    given |= {"model": {"architecture": {"model_type": "vit_mae"}}, "policy": {"prior": {"difference": 1.0}}}
    places = {"task": {"path": "a"}, "domain": {"path": "b"}, "general": {"path": "c"}}
    assert idle_settings(Config.model_validate(given | places)) == [
        "scores.difference.anchor_share  does nothing: it is of texts"
    ]
