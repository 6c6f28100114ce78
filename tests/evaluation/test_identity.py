import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from policylearn.arms.course import USUAL, Course
from policylearn.config import MaskingConfig, RateSchedule
from policylearn.data.tokens import TokenRows
from policylearn.evaluation import identity
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.identity import evidence_key, masks_key, trial_key
from policylearn.policy.policy import uniform_policy
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import METRICS, NETWORKS
from policylearn.registry.registry import Origin
from policylearn.runs.provenance import fingerprint
from policylearn.tasks.labelled import Examples

ARMS = 'evaluate.arms=["none", "random"]'


def calls(tiny, folder, quiet, monkeypatch, *overrides) -> list[tuple[str, int]]:
    """Which trials an evaluation runs in this folder."""
    import policylearn.evaluation.compare as module

    ran, real = [], module.run_trial

    def spy(problem, policy, arm, seed, key):
        ran.append((arm, seed))
        return real(problem, policy, arm, seed, key)

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_trial", spy)
        result = evaluate_policies(tiny(ARMS, "evaluate.seeds=1", *overrides), folder, quiet, {})
    kept = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert len({record["key"] for record in kept}) == len(kept)
    assert json.loads((folder / "result.json").read_text())["arms"] == result["arms"]
    return ran


def test_only_what_is_missing_is_run(tiny, tmp_path, quiet, monkeypatch):
    def run(*overrides):
        return calls(tiny, tmp_path / "out", quiet, monkeypatch, *overrides)

    assert run() == [("none", 0), ("random", 0)]
    assert run() == []
    assert run("evaluate.seeds=2") == [("none", 1), ("random", 1)]
    assert run('evaluate.arms=["random", "tficf"]') == [("tficf", 0)]
    assert run() == []  # those of other arms and seeds are kept
    assert run("learn.rounds=1", "name=other", "cluster.workers=2") == []
    assert run('evaluate.arms=["random", "again"]', "evaluate.custom={again = {}}") == []  # the same under another name


@pytest.mark.parametrize(
    "change", ["inner.steps=8", "evaluate.labelled=10", "planted.documents=81", "masking.rate=0.2", "model.bf16=true"]
)
def test_what_a_trial_depends_on_makes_another_of_it(tiny, tmp_path, quiet, monkeypatch, change):
    folder = tmp_path / "out"
    calls(tiny, folder, quiet, monkeypatch)
    again = calls(tiny, folder, quiet, monkeypatch, change)
    assert again == ([("random", 0)] if change == "masking.rate=0.2" else [("none", 0), ("random", 0)])


def metric_of(value):
    """A metric, as a cell that is edited and run again registers it."""
    registered = METRICS.register("classification.cell", Origin("their_parts", "<module>"))
    registered(lambda y, predictions: float((y == predictions).mean()) * value)


def test_a_metric_that_is_written_otherwise_makes_another_trial_of_it(tiny, tmp_path, quiet, monkeypatch):
    def run():
        return calls(tiny, tmp_path / "out", quiet, monkeypatch, "task.metric=cell")

    metric_of(0.5)
    assert len(run()) == 2
    metric_of(0.5)
    assert run() == []
    metric_of(0.25)
    assert len(run()) == 2


ADAPTATION = """
from policylearn.adapt.chosen import Adaptation, Chosen
from policylearn.adapt.probe import ADAPTATION
from policylearn.registry.known import ADAPTATIONS
ADAPTATIONS.register("mine")(Adaptation(ADAPTATION.outer_loss, lambda *_: Chosen({0}, lambda split: {0})))
"""


def test_so_does_an_adaptation_though_it_is_an_object_of_ours(tiny, tmp_path, quiet, monkeypatch):
    def run(score):
        exec(ADAPTATION.format(score), {"__name__": "their_parts"})
        return calls(tiny, tmp_path / "out", quiet, monkeypatch, "evaluate.downstream=[mine]")

    assert [len(run(score)) for score in (0.25, 0.25, 0.75)] == [2, 0, 2]


def test_a_trial_from_when_parts_were_looked_at_less_closely_is_known_again(tiny, tmp_path, quiet, monkeypatch):
    def run(score):
        exec(ADAPTATION.format(score), {"__name__": "their_parts"})
        return calls(tiny, tmp_path / "out", quiet, monkeypatch, "evaluate.downstream=[mine]")

    with monkeypatch.context() as before:
        before.setattr("policylearn.evaluation.compare.evidence_key", lambda problem, way: evidence_key(problem, 1))
        assert len(run(0.25)) == 2
    assert run(0.25) == []
    assert len(run(0.75)) == 2


def test_a_network_that_is_written_otherwise_makes_another_trial_of_it(make_policy, tiny_problem):
    policy = make_policy(network="table")
    ours = masks_key(policy, tiny_problem.domain)

    class Mine(NETWORKS.get("table")):
        step = 1

    keys = []
    for Mine.step in (1, 1, 2):
        NETWORKS.register("mine", Origin("their_parts", "<module>"))(Mine)
        policy.config = policy.config.model_copy(update={"network": "mine"})
        keys.append(masks_key(policy, tiny_problem.domain))
    assert keys[0] == keys[1] != keys[2] and ours not in keys


def test_settings_of_weight_masks_count_where_they_are_learned(tiny):
    """And elsewhere not even that there are any: trials from before there were are known again."""
    settings, learned = ("evaluate.weight_mask.sparsity=0.1",), 'evaluate.downstream=["weight_mask"]'
    assert evidence_key(problem_of(tiny())) == evidence_key(problem_of(tiny(*settings)))
    assert evidence_key(problem_of(tiny(learned))) != evidence_key(problem_of(tiny(learned, *settings)))
    assert "weight_mask" not in json.dumps(identity._settings(tiny(), tiny().task))


@pytest.mark.parametrize("method", ["probe", "weight_mask"])
def test_the_plan_is_said_before_it_starts(tiny, tmp_path, quiet, method):
    settings = (ARMS, f'evaluate.downstream=["{method}"]', "evaluate.weight_mask.epochs=1")
    evaluate_policies(tiny(*settings, "evaluate.seeds=1"), tmp_path / "out", quiet, {})
    said = quiet.file.getvalue()
    assert "2 arms × 1 seed = 2 trials; 2 to run, about" in said
    evaluate_policies(tiny(*settings, "evaluate.seeds=2"), tmp_path / "out", quiet, {})
    assert "2 arms × 2 seeds = 4 trials, 2 of them known; 2 to run, about" in quiet.file.getvalue()


def test_a_folder_that_a_policy_was_learned_in_takes_no_comparison(tiny, finished, quiet):
    with pytest.raises(ValueError, match=r"is the folder of a run that learns: choose another --out for a comparison"):
        evaluate_policies(tiny("inner.steps=8", 'evaluate.arms=["random"]'), finished, quiet, {})


def rows_of(*texts):
    return TokenRows(np.array([token for text in texts for token in text]), np.cumsum([0, *map(len, texts)]))


def test_units_that_are_cut_make_another_trial_of_it_and_others_do_not(wordpiece):
    """Before there was a bound, a word of any length was one unit."""
    word, spans = (uniform_policy(wordpiece, MaskingConfig(unit=unit)) for unit in ("word", "span"))
    short, long = "ba be bi bo " * 10, "babebibo" * 5 + " ba" * 40
    ordinary, exceeding = (rows_of(*wordpiece([short, text])["input_ids"]) for text in (short, long))
    assert masks_key(word, ordinary) == fingerprint(word) != masks_key(word, exceeding)
    assert masks_key(uniform_policy(wordpiece), exceeding) == fingerprint(uniform_policy(wordpiece))
    assert masks_key(spans, ordinary) != fingerprint(spans) and masks_key(None, ordinary) == "none"


def test_masks_by_which_an_untrained_model_is_tuned_make_another_trial_of_it(tiny):
    """Of "none" the key has no masks of a policy, and `joint` masks its texts all the same."""
    joint, rate = 'evaluate.downstream=["joint"]', "masking.rate=0.3"
    assert evidence_key(problem_of(tiny(joint))) != evidence_key(problem_of(tiny(joint, rate)))
    assert evidence_key(problem_of(tiny())) == evidence_key(problem_of(tiny(rate)))


def test_a_schedule_makes_another_trial_where_texts_are_tuned_at_its_last_rate(make_policy, tiny_problem, tiny):
    """Before, joint tuning had the first."""
    joint, falling = 'evaluate.downstream=["joint"]', "masking.rate={kind='linear', rates=[0.3, 0.15]}"
    schedule = RateSchedule(kind="linear", rates=[0.3, 0.15])
    for policy, usual in ((None, "none"), (make_policy(rate=schedule), fingerprint(make_policy(rate=schedule)))):
        assert masks_key(policy, tiny_problem.domain, config=tiny(falling)) == usual
        assert masks_key(policy, tiny_problem.domain, config=tiny(joint, falling)) == f"{usual} tuned at the last rate"
    assert masks_key(make_policy(), tiny_problem.domain, config=tiny(joint)) == fingerprint(make_policy())


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("course", [Course(), Course(texts=0.5)])
def test_a_batch_that_straddles_two_epochs_makes_another_trial_of_it(make_policy, tiny_problem, tiny, course, copies):
    """Before, all of its texts were masked by the draw of the later; of `explore` never, nor of less than a batch."""
    policy, explore = (make_policy(masking={"copies": copies, **own}) for own in ({}, {"design": "explore"}))
    domain, read = tiny_problem.domain.take([*range(24)]), round(24 * course.texts)
    for size, steps in itertools.product((2, 8, 10, 16, 40), (1, 2, 4)):
        config = tiny(f"inner.batch_size={size}", f"evaluate.steps={steps}")
        epochs = np.arange(steps * size // copies).reshape(steps, -1) // read
        apart = size // copies <= read and bool((epochs != epochs[:, :1]).any())
        assert masks_key(policy, domain, course, config) == fingerprint(policy) + course.key + " own epochs" * apart
        assert masks_key(explore, domain, course, config) == fingerprint(explore) + course.key


@pytest.mark.parametrize(("metric", "of"), [("exact_match", "answers as given back"), ("likelihood", None)])
def test_answers_that_were_right_as_spelt_alone_make_another_trial(tiny, metric, of):
    task = tiny().task.model_copy(update={"kind": "questions", "metric": metric})
    assert identity._settings(tiny(), task).get("metric_of") == of


def test_settings_of_credits_make_another_trial_where_masks_go_by_them(make_policy, tiny_problem, tiny):
    policy, domain, keys = make_policy(), tiny_problem.domain, {}
    for course in (Course(), Course(live=8)):
        configs = tiny(), tiny("outer.parameters=layers"), tiny("credit.folds=3")
        keys[course] = [masks_key(policy, domain, course, config) for config in configs]
    usual, live = keys.values()
    assert len(set(usual)) == 1 and len(set(live)) == 3


def turned(split):
    """The same labels in another order, of the same texts."""
    return Examples(split.rows, split.y.flip(0))


def retold(split):
    """The labels as they are, of texts in another order."""
    return Examples(split.rows.take([*range(len(split))][::-1]), split.y)


def test_all_data_make_another_trial_of_it(tiny_problem, tiny):
    data, config = tiny_problem.data(), tiny()
    others = [replace(data, labels=data.labels[::-1]), replace(data, domain=data.domain.take([*range(79)]))]
    for name, split in data.examples.items():
        others += [replace(data, examples=data.examples | {name: change(split)}) for change in (turned, retold)]
    keys = [identity._data(one, config) for one in (data, *others)]
    assert len({*keys}) == 1 + 2 + 2 * len(data.examples) and len(data.examples) >= 3


@pytest.mark.parametrize(
    "change",
    [
        "inner.learning_rate=1e-3",
        "evaluate.steps=3",
        "scores.amlm.every=7",
        "task.metric=macro_f1",
        "model.max_length=15",
        "evaluate.downstream=[finetune]",
    ],
)
def test_settings_that_a_trial_goes_by_are_in_its_key_and_seed_and_weights_as_well(tiny, change):
    config, other = tiny(), tiny(change)
    assert identity._settings(config, config.task) != identity._settings(other, other.task)
    assert len({trial_key(*key) for key in (("e", "m", 0), ("e", "m", 1), ("f", "m", 0), ("e", "n", 0))}) == 4


def test_weights_and_the_course_of_an_arm_make_another_trial_of_it(tiny, tiny_problem, make_policy, monkeypatch):
    keys = [evidence_key(tiny_problem)]
    monkeypatch.setattr(identity, "weights_key", lambda model: "others")
    assert evidence_key(tiny_problem) not in keys
    courses = [USUAL, Course(causal=0.5), Course(texts=0.5), Course(labels=4), Course(labels=4, mlm_weight=0.5)]
    assert len({masks_key(make_policy(), tiny_problem.domain, course) for course in courses}) == len(courses)
