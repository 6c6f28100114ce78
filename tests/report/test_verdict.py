import math

import pytest

from policylearn.report.summary import gap_recovered, paired, strongest_baseline, uneven_masking, winners
from policylearn.report.verdict import signal, verdict


def result(comparisons: dict | None = None, **scores: list) -> dict:
    found = {"arms": {name: {"scores": values} for name, values in scores.items()}}
    return {**found, "comparisons": comparisons} if comparisons else found


def interval(low: float, mean: float, high: float) -> dict:
    return {"learned - difference": {"mean": mean, "low": low, "high": high}}


BASE = {"random": [0.56, 0.56, 0.56], "difference": [0.79, 0.80, 0.81]}


def test_a_clear_win_reads_as_one():
    found = verdict(result(interval(0.02, 0.042, 0.06), learned=[0.83, 0.842, 0.854], **BASE))
    assert found.outcome == "better"
    assert found.sentence == (
        "On fresh models the learned policy scores .842, Difference-Masking .800, random .560 (mean of 3 "
        "seeds; learned − Difference-Masking = +.042 [.020, .060]): it beats Difference-Masking."
    )


@pytest.mark.parametrize(
    ("low", "mean", "high", "outcome", "words"),
    [
        (-0.01, 0.03, 0.06, "unclear", "may be chance"),
        (-0.06, -0.04, -0.02, "worse", ": Difference-Masking beats it."),
        (-0.06, -0.01, 0.02, "unclear", "it is behind Difference-Masking, but the 95 % interval includes zero"),
        (-0.01, 0.0, 0.01, "unclear", "it is level with Difference-Masking, but the 95 % interval includes zero"),
        (
            0.0,
            0.0,
            0.0,
            "unclear",
            "it is level with Difference-Masking, but the difference is the same on all 3 seeds",
        ),
        (
            0.02,
            0.02,
            0.02,
            "unclear",
            "it is ahead of Difference-Masking, but the difference is the same on all 3 seeds",
        ),
        (0.02, 0.04, 0.06, "better", "it beats Difference-Masking."),
    ],
)
def test_the_verdict_follows_the_interval(low, mean, high, outcome, words):
    found = verdict(result(interval(low, mean, high), learned=[0.8 + mean] * 3, **BASE))
    assert found.outcome == outcome and words in found.sentence


@pytest.mark.parametrize(("score", "where"), [(0.9, "ahead of"), (0.5, "level with"), (0.3, "behind")])
def test_of_one_seed_nothing_is_said_but_that_it_tells_nothing(score, where):
    found = verdict(result(learned=[score], random=[0.5]))
    assert found.outcome == "unclear" and "mean of 1 seed;" in found.sentence
    assert found.sentence.endswith(f"it is {where} random, but one seed tells nothing of others.")


def test_without_an_interval_neither_a_lead_nor_a_loss_is_called_one():
    for scores in ([0.9, 0.8], [0.1, 0.2]):
        found = verdict(result(learned=scores, random=[0.5, 0.5]))
        assert found.outcome == "unclear" and found.sentence.endswith("there is no interval, so this may be chance.")


def test_no_further_pretraining_is_no_arm_of_equal_budget_and_is_named_all_the_same():
    scores = result(interval(0.01, 0.05, 0.09), learned=[0.85] * 3, none=[0.99] * 3, **BASE)
    scores["arms"]["none"]["masked_tokens"] = [0, 0, 0]
    assert strongest_baseline(scores).name == "difference"
    assert "no further pretraining .990" in verdict(scores).sentence


@pytest.mark.parametrize(
    "exported, subject",
    [
        ("learned", "the learned policy scores"),
        ("prior", "the exported policy, which is its prior as it is, scores"),
        ("start", "the exported policy, which is the one it started from, scores"),
        ("random", "the exported policy, which is random masks, scores"),
    ],
)
def test_the_sentence_is_about_what_was_exported(exported, subject):
    scores = result(learned=[0.7, 0.8], random=[0.5, 0.6]) | {"exported": exported}
    assert f"On fresh models {subject} .750" in verdict(scores).sentence


def test_a_prior_as_it_is_is_not_called_learned():
    scores = result(learned=[0.7, 0.8], random=[0.5, 0.6]) | {"learned": False}
    assert "the exported policy, which is its prior as it is, scores .750" in verdict(scores).sentence
    assert verdict({"learned": False}).sentence.startswith("The exported policy, which is its prior as it is,")


def test_the_strongest_baseline_counts_not_the_weakest():
    found = verdict(result(random=[0.85, 0.86], difference=[0.7, 0.7], learned=[0.8, 0.8]))
    assert found.outcome == "unclear" and "it is behind random" in found.sentence


def test_many_arms_do_not_make_a_long_sentence():
    many = {f"arm{i}": [0.6 + i / 100] * 3 for i in range(5)}
    sentence = verdict(result(learned=[0.9] * 3, entity=[0.85] * 3, **many, **BASE)).sentence
    assert "entity .850, Difference-Masking .800, random .560" in sentence and "arm4" not in sentence


def test_the_oracle_is_no_rival():
    scores = result(interval(0.01, 0.05, 0.09), learned=[0.85] * 3, oracle=[0.95] * 3, **BASE)
    assert verdict(scores).outcome == "better" and winners(scores) == ["learned"]
    assert strongest_baseline(scores).name == "difference"


def test_nothing_learned_nothing_claimed():
    assert verdict({}).outcome == "unknown"
    found = verdict(result(random=[0.5]))
    assert found.outcome == "unknown" and "not evaluated" in found.sentence and "random .500" in found.sentence
    alone, beside = (verdict(result(learned=[0.5], **more)).sentence for more in ({}, {"oracle": [0.6]}))
    assert "no other policy was evaluated" in alone
    assert "nothing that could be chosen instead" in beside and "oracle .600" in beside
    assert verdict(result(learned=[None], random=[0.5])).outcome == "unknown"


def test_a_comparison_may_be_stated_the_other_way_round():
    scores = result({"random - learned": {"mean": -0.2, "low": -0.3, "high": -0.1}}, learned=[0.7], random=[0.5])
    gap = paired(scores, "learned", "random")
    assert (gap.mean, gap.low, gap.high) == (0.2, 0.1, 0.3) and gap.clear


def test_pairs_need_the_same_seeds():
    assert paired(result(learned=[0.7, 0.8], random=[0.5]), "learned", "random").per_seed == []
    gap = paired(result(learned=[0.7, None], random=[0.5, 0.6]), "learned", "random")
    assert gap.per_seed == pytest.approx([0.2])
    assert paired(result(learned=[0.7]), "learned", "random") is None


def test_gap_recovered_needs_a_gap():
    assert gap_recovered(result(random=[0.5], learned=[0.7], oracle=[0.9]), "learned") == pytest.approx(0.5)
    assert math.isnan(gap_recovered(result(random=[0.9], learned=[0.7], oracle=[0.5]), "learned"))
    assert math.isnan(gap_recovered(result(learned=[0.7], oracle=[0.5]), "learned"))


def test_no_share_of_a_gap_is_told_that_is_not_shown_to_be_one():
    scores = {"random": [0.5, 0.5], "learned": [0.6, 0.8], "oracle": [0.6, 1.0]}
    ways = [{"oracle - random": {"mean": 0.3, "low": low, "high": 0.6 - low}} for low in (-0.1, 0.1)]
    assert math.isnan(gap_recovered(result(ways[0], **scores), "learned"))
    assert gap_recovered(result(ways[1], **scores), "learned") == pytest.approx(2 / 3)


def test_unequal_numbers_of_masks_are_noticed():
    def masked(*counts):
        return {"arms": {f"arm{i}": {"scores": [0.5], "masked_tokens": [n]} for i, n in enumerate(counts)}}

    assert not uneven_masking(masked(1000, 1005)) and uneven_masking(masked(1000, 1100))
    assert not uneven_masking({}) and not uneven_masking(result(learned=[0.5]))


@pytest.mark.parametrize(
    ("cosines", "outcome"),
    [([0.2, 0.3, 0.25], "better"), ([0.2, -0.1, 0.1], "unclear"), ([0.2], "unknown"), ([None, 0.2], "unknown")],
)
def test_a_run_whose_signal_is_noise_says_so(cosines, outcome):
    found = signal([{"reliability": cosine} for cosine in cosines])
    assert found.outcome == outcome
    assert ("noise" in found.sentence) == (outcome == "unclear")


@pytest.mark.parametrize(
    ("errors", "said"), [([0.01, 0.5, 0.02], False), ([0.2, float("nan"), 0.3], True), ([], False)]
)
def test_derivatives_that_are_far_off_are_said(errors, said):
    found = signal([{"reliability": 0.5, "difference_error": error} for error in errors])
    assert ("off by 25 %: `inner.engine=replay`" in found.sentence) == said


def test_the_interval_of_a_cosine_ends_where_cosines_do():
    found = signal([{"reliability": 0.1}, {"reliability": -0.1}])
    assert "mean cosine .000 [−1.000, 1.000] over 2 rounds" in found.sentence
