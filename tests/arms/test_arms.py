import pytest
import torch

from policylearn.arms.arms import SETTINGS, arm_policy, check_arms, more_labels, other_budgets
from policylearn.config import MaskingConfig
from policylearn.evaluation.compare import evaluate_policies
from policylearn.problems.of_config import problem_of
from policylearn.problems.problem import Problem


def masked_share(problem: Problem, arm: str, epochs: int = 1) -> torch.Tensor:
    """Masks of the first rows in consecutive epochs, [epochs, B, T], as shares of eligible tokens."""
    from policylearn.policy.policy import mask_tokens

    policy, pad = arm_policy(problem, arm), problem.tokenizer.pad_token_id
    text = problem.domain.batch(range(64), pad)
    masks = [mask_tokens(policy, *text, 0, e).mask for e in range(epochs)]
    return torch.stack(masks).sum(0) / policy.eligible(*text).sum()


@pytest.mark.parametrize(("arm", "share"), [("random", 0.15), ("random-30", 0.3), ("random-40", 0.4), ("word", 0.15)])
def test_arms_of_other_settings_mask_their_share(tiny, arm, share):
    problem = problem_of(tiny("masking.rate=0.15"))
    assert masked_share(problem, arm).sum() == pytest.approx(share, abs=0.02)


def test_explore_covers_a_text_in_disjoint_masks(tiny):
    problem = problem_of(tiny("masking.rate=0.2", "masking.draws=5"))
    policy = arm_policy(problem, "explore")
    assert policy.masking.design == "explore"
    shares = masked_share(problem, "explore", epochs=5)
    eligible = shares > 0
    assert shares[eligible].max() == shares[eligible].min()  # each eligible token once


def test_an_arm_of_ones_own(tiny):
    config = tiny(
        'evaluate.arms=["random", "mine"]',
        'evaluate.custom={mine = {prior = {tficf = 3.0}, masking = {rate = 0.25, unit = "word"}}}',
    )
    check_arms(config)
    policy = arm_policy(problem_of(config), "mine")
    assert policy.config.prior == {"tficf": 3.0}
    assert (policy.masking.rate, policy.masking.unit, policy.masking.p_max) == (0.25, "word", config.masking.p_max)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("{masking = {rte = 0.25}}", r"override evaluate\.custom=.*: evaluate\.custom.*\.masking\.rte: unknown key"),
        ("{masking = {rate = 0.95}}", r"evaluate\.custom\.mine\.masking: rate 0\.95 must be below p_max"),
        ("{prior = {nope = 1.0}}", r"evaluate\.custom\.mine\.prior: unknown scorer 'nope'; known: .*'tficf'"),
    ],
)
def test_mistakes_in_an_arm_of_ones_own_are_found_before_anything_runs(tiny, own, message):
    with pytest.raises(ValueError, match=message):
        check_arms(tiny(f"evaluate.custom={{mine = {own}}}"))


@pytest.mark.parametrize("name", ["random", "none", "learned", "tficf", "random-30", "select", "live"])
def test_an_arm_of_ones_own_has_a_name_of_its_own(tiny, name):
    with pytest.raises(ValueError, match=f"evaluate.custom: '{name}' is the name of another arm, give yours one of"):
        check_arms(tiny(f"evaluate.custom={{{name} = {{prior = {{tficf = 9}}}}}}"))


def test_arms_of_a_comparison_are_named_or_it_is_skipped(tiny):
    check_arms(tiny("evaluate.arms=[]", "evaluate.seeds=0"))
    with pytest.raises(ValueError, match=r"evaluate\.arms is empty: name what to compare, .* or skip it"):
        check_arms(tiny("evaluate.arms=[]", "evaluate.seeds=1"))


def test_budgets_that_differ_are_known_by_their_reason(tiny):
    names = list(SETTINGS)
    config = tiny(f"evaluate.arms={names}".replace("'", '"'))
    rate = {"random-30": "rate", "random-40": "rate", "random-30-15": "rate"}
    others = {
        "word": "units",
        "span": "units",
        "explore": "design",
        "random-rate": "drawn",
        "causal-first": "causal",
        "labels-only": "none",
    }
    assert other_budgets(config) == rate | others
    higher = config.model_copy(update={"masking": MaskingConfig(rate=0.2)})
    assert other_budgets(higher)["random-rate"] == "rate"
    twice = tiny('evaluate.arms=["random","twice"]', "evaluate.custom={twice = {masking = {copies = 2}}}")
    assert other_budgets(twice) == {"twice": "texts"}


def test_arms_of_another_rate_are_compared_but_not_at_equal_budget(tiny, tmp_path, quiet):
    config = tiny("evaluate.seeds=1", 'evaluate.arms=["random", "random-30", "word", "none"]')
    result = evaluate_policies(config, tmp_path / "out", quiet, {})
    budgets = {arm: found["equal_budget"] for arm, found in result["arms"].items()}
    assert budgets == {"random": True, "random-30": False, "word": True, "none": False}
    masked = {arm: found["masked_tokens"][0] for arm, found in result["arms"].items()}
    assert masked["random-30"] > 1.5 * masked["random"] and masked["none"] == 0


def test_arms_that_see_more_labels_than_the_classifier_are_said(tiny, tmp_path, quiet):
    given = (
        'evaluate.arms=["none","random","multitask","own","idf"]',
        "evaluate.custom={own = {prior = {saliency = 1}}}",
    )
    config = tiny(*given, 'evaluate.downstream=["probe@20","probe"]')
    said = "multitask, own: labels from all 60 of train, where the classifier has 20"
    assert more_labels(config, 60) == said and more_labels(config, 60, ["multitask", "own"]) == ""
    assert more_labels(config, 20) == "" == more_labels(tiny(*given), 60)
    assert more_labels(tiny('evaluate.arms=["learned"]', "evaluate.labelled=9"), 60).startswith("learned: labels from")
    few = ('evaluate.arms=["credit","saliency","multitask"]', "evaluate.labelled=20", "credit.examples=20")
    said = "saliency: labels from 30 of train; multitask: labels from all 60 of train, where the classifier has 20"
    assert more_labels(tiny(*few, "scores.model_texts=30"), 60) == said
    targets = ("learn.stages=[supervised]", "supervised.targets=importance")
    assert more_labels(tiny('evaluate.arms=["learned"]', "evaluate.labelled=9", *targets), 60).startswith("learned: ")
    idle = ('evaluate.arms=["learned"]', "evaluate.labelled=9", "learn.rounds=0")
    assert more_labels(tiny(*idle), 60) == "" and more_labels(tiny(*idle, "policy.prior={saliency=1.0}"), 60)
    config = tiny('evaluate.arms=["random","multitask"]', "evaluate.labelled=20", "evaluate.seeds=1", "inner.steps=2")
    result = evaluate_policies(config, tmp_path / "out", quiet, {})
    said = "multitask: labels from all 60 of train, where the classifier has 20"
    assert result["provenance"]["remark"] == said and said in (tmp_path / "out" / "report.html").read_text()


def test_an_arm_takes_no_more_labels_in_a_step_than_there_are(tiny):
    arm = "evaluate.custom={{mine={{labels={}}}}}".format
    with pytest.raises(ValueError, match=r"evaluate.custom.mine.labels 61 in every step, and train has 60"):
        arm_policy(problem_of(tiny(arm(61))), "mine")
    assert arm_policy(problem_of(tiny(arm(60))), "mine")
