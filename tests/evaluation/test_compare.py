import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from policylearn.arms.arms import check_arms
from policylearn.arms.course import COURSES
from policylearn.arms.policies import build_policy
from policylearn.artefact import PolicyArtefact, load_policy, save_policy
from policylearn.commands.reproduce import reproduce_trial
from policylearn.commands.train import train
from policylearn.config import PolicyConfig, config_of
from policylearn.evaluation.compare import evaluate_policies
from policylearn.evaluation.identity import evidence_key, masks_key
from policylearn.evaluation.trial import run_trial
from policylearn.pretrain.material import material_of
from policylearn.problems.of_config import problem_of
from policylearn.runs.run import Run


def test_arms_are_checked_by_name(tiny):
    check_arms(tiny('evaluate.arms=["none", "random", "difference", "tficf", "oracle", "learned"]'))
    with pytest.raises(ValueError, match=r"unknown arm 'mine'; known: .*'random'"):
        check_arms(tiny('evaluate.arms=["mine"]'))
    check_arms(tiny('evaluate.arms=["mine"]'), known=["mine"])
    for arm in ("oracle", "oracle:rank", "distractors"):
        with pytest.raises(ValueError, match=f"'{arm}' is known on the planted benchmark only"):
            check_arms(tiny(f'evaluate.arms=["{arm}"]', "domain.path=elsewhere.jsonl"))
    for arm in ("random:rank", "none:rank", "learned:rank"):
        with pytest.raises(ValueError, match=f"unknown arm '{arm}'"):
            check_arms(tiny(f'evaluate.arms=["{arm}"]'))


@pytest.fixture(scope="module")
def one_seed(tiny):
    return tiny("evaluate.seeds=1", 'evaluate.arms=["random", "learned"]')


def test_exported_policies_are_compared_with_the_configured_arms(finished, one_seed, tmp_path, quiet):
    given = {"learned": finished / "policy", "prior": finished / "prior"}
    result = evaluate_policies(one_seed, tmp_path / "out", quiet, given)
    assert list(result["arms"]) == ["random", "learned", "prior"]
    assert [line.split(" by ")[0].split(":")[0] for line in result["sentences"]] == [
        "learned and random differ",
        "prior and random differ",
    ]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "The task is learned by a linear model of frozen features, from all labels" in page
    assert result["arms"].keys() == json.loads((tmp_path / "out" / "result.json").read_text())["arms"].keys()
    whole = json.loads((finished / "result.json").read_text(encoding="utf-8"))["arms"]
    for arm, twin in (("random", "random"), ("learned", "learned"), ("prior", "difference")):
        assert result["arms"][arm]["scores"][0] == whole[twin]["scores"][0]


def test_seeds_may_begin_elsewhere_and_those_that_are_known_are_not_run_again(tiny, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.evaluation.compare.run_trial", scored_by_seed)
    found = [
        evaluate_policies(tiny("evaluate.arms=[random]", *more), tmp_path / "out", quiet, {})
        for more in (["evaluate.seeds=3"], ["evaluate.seeds=3", "evaluate.first_seed=2"])
    ]
    assert [result["seeds"] for result in found] == [[0, 1, 2], [2, 3, 4]]
    assert [result["arms"]["random"]["scores"] for result in found] == [[0.0, 0.01, 0.02], [0.02, 0.03, 0.04]]
    lines = (tmp_path / "out" / "trials.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["seed"] for line in lines) == [0, 1, 2, 3, 4]


def scored_by_seed(problem, policy, arm, seed, key=""):
    return replace(run_trial(problem, policy, arm, seed, key), score=seed / 100)


def with_arm(config, arm):
    return config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"arms": [arm]})})


def test_learned_is_left_out_where_no_policy_is_given_and_that_is_said(one_seed, tmp_path, quiet):
    assert list(evaluate_policies(one_seed, tmp_path / "out", quiet, {})["arms"]) == ["random"]
    assert "'learned' is left out: no policy is given for it" in quiet.file.getvalue()


@pytest.mark.parametrize("setting", ["evaluate.arms=[]", "evaluate.arms=[learned]", "evaluate.seeds=0"])
def test_a_comparison_of_nothing_is_refused(setting, tiny, tmp_path, quiet):
    with pytest.raises(ValueError, match=r"compares nothing: name arms, such as .* and set seeds to 1 or more"):
        evaluate_policies(tiny(setting), tmp_path / "out", quiet, {})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arm", COURSES)
def test_no_policy_is_given_for_an_arm_that_trains_in_a_way_of_its_own(arm, finished, one_seed, tmp_path, quiet):
    with pytest.raises(ValueError, match=rf"is given for the arm '{arm}', whose models are trained in another way"):
        evaluate_policies(one_seed, tmp_path / "out", quiet, {arm: finished / "policy"})
    assert not (tmp_path / "out").exists()


def test_an_arm_that_cannot_be_built_beside_fresh_costs_nothing(one_seed, tiny, tmp_path, quiet):
    evaluate_policies(one_seed, tmp_path, quiet, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    config = tiny("evaluate.seeds=1", "evaluate.arms=[random,difference]", "scores.difference.anchor_ratio=1e9")
    with pytest.raises(ValueError, match="anchor"):
        evaluate_policies(config, tmp_path, quiet, {}, fresh=True)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_trial_that_a_later_version_knows_more_of_is_known(one_seed, tmp_path, quiet):
    config = with_arm(one_seed, "word")
    first = evaluate_policies(config, tmp_path, quiet, {})
    lines = [json.loads(line) | {"joules": 3} for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    (tmp_path / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert evaluate_policies(config, tmp_path, quiet, {})["arms"] == first["arms"]
    assert "1 trial, 1 of them known" in quiet.file.getvalue()


@pytest.mark.parametrize("arm", ["random", "none", ""])
def test_no_policy_stands_in_for_what_others_are_compared_with(arm, finished, one_seed, tmp_path, quiet):
    with pytest.raises(ValueError, match=rf"is given for the arm '{arm}', whose masks are fixed"):
        evaluate_policies(one_seed, tmp_path / "out", quiet, {arm: finished / "policy"})
    assert not (tmp_path / "out").exists()


def test_a_policy_may_stand_in_for_a_configured_arm(finished, one_seed, tmp_path, quiet):
    config = with_arm(one_seed, "word")
    result = evaluate_policies(config, tmp_path / "out", quiet, {"word": finished / "policy"})
    assert list(result["arms"]) == ["word"]
    assert len(result["arms"]["word"]["scores"]) == 1


def test_trials_of_one_policy_are_never_shown_as_those_of_another(finished, one_seed, tmp_path, quiet, monkeypatch):
    folder = tmp_path / "out"
    first = evaluate_policies(one_seed, folder, quiet, {"learned": finished / "policy"})
    with monkeypatch.context() as patch:
        patch.setattr("policylearn.evaluation.compare.run_trial", None)  # all trials are there already
        assert evaluate_policies(one_seed, folder, quiet, {"learned": finished / "policy"})["arms"] == first["arms"]
    artefact = load_policy(finished / "policy")
    artefact.policy.load_learned({n: v + 1 for n, v in artefact.policy.learned().items()})
    other = save_policy(tmp_path / "other", artefact, card="")
    again = evaluate_policies(one_seed, folder, quiet, {"learned": other})["arms"]
    assert again["random"] == first["arms"]["random"] and again["learned"] != first["arms"]["learned"]
    assert evaluate_policies(one_seed, folder, quiet, {"learned": finished / "policy"})["arms"] == first["arms"]


def test_a_trial_of_a_given_policy_is_reproduced_from_wherever_it_came(
    policylearn, finished, one_seed, tmp_path, quiet, monkeypatch
):
    """Given by a relative path, for an arm that has a policy of its own name; called from another folder."""
    shutil.copytree(finished / "policy", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    evaluate_policies(with_arm(one_seed, "word"), tmp_path / "out", quiet, {"word": "mine"})
    monkeypatch.chdir("/")
    known = json.loads((tmp_path / "out" / "trials.jsonl").read_text())
    again = asdict(reproduce_trial(tmp_path / "out", "word", 0))
    assert known.pop("seconds") and again.pop("seconds") and known.pop("key") and not again.pop("key")
    assert again == known
    assert policylearn("reproduce", tmp_path / "out", "--trial", "word", 0)[0] == 0


@pytest.fixture
def with_scores(one_seed, tmp_path):
    """`with_scores(settings, …)`: a config whose texts bring scores, of which only `policy.prior` may tell."""
    rows = [{"text": "class0_01 generic_003 " * 3, "scores": [0, 1, i, 1, 0, 0]} for i in range(12)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = ("domain.path", str(tmp_path / "texts.jsonl"))

    def config(*settings):
        tree = one_seed.model_dump(mode="json", exclude_unset=True)
        return config_of(tree, [(key, value, "") for key, value in (own, *settings)], "")

    return config


def of_scores(config, folder):
    """A policy that goes by them alone."""
    policy = build_policy(problem_of(config), PolicyConfig(prior={"column": 4.0}, network="none"))
    return save_policy(folder, PolicyArtefact(policy, problem_of(config).tokenizer, {}), card="")


def test_a_given_policy_masks_by_the_scores_of_texts_whether_or_not_the_config_names_them(
    with_scores, tmp_path, quiet, policylearn
):
    mine, kept = of_scores(with_scores(), tmp_path / "mine"), {}
    for name, settings in (("named", [("policy.prior", {"column": 1.0})]), ("not", [])):
        evaluate_policies(with_scores(*settings), tmp_path / name, quiet, {"mine": mine})
        lines = map(json.loads, (tmp_path / name / "trials.jsonl").read_text().splitlines())
        kept[name] = [(trial["arm"], trial["mlm_loss"]) for trial in lines]
    assert kept["named"] == kept["not"]
    for arm in ("random", "mine"):
        assert "others than those" not in "".join(policylearn("reproduce", tmp_path / "not", "--trial", arm, 0)[1:])
    assert [*material_of(problem_of(with_scores()), str(mine)).rows[0]] == ["input_ids", "column"]


def test_another_policy_that_goes_by_scores_of_texts_leaves_the_trials_of_other_arms_what_they_are(
    with_scores, tmp_path, quiet
):
    """And other scores are other trials of that policy alone."""
    mine, out = of_scores(with_scores(), tmp_path / "mine"), tmp_path / "out"

    def keys(**given):
        evaluate_policies(with_scores(), out, quiet, given)
        kept = [(trial["arm"], trial["key"]) for trial in map(json.loads, (out / "trials.jsonl").open())]
        return {arm: {key for name, key in kept if name == arm} for arm in ("random", "mine")}

    first, second = keys(), keys(mine=mine)
    assert first["random"] == second["random"] and len(second["mine"]) == 1
    texts = Path(with_scores().domain.path)
    texts.write_text(texts.read_text().replace("[0, 1, 11,", "[0, 1, 12,"))
    third = keys(mine=mine)
    assert third["random"] == first["random"] and len(third["mine"]) == 2
    named = problem_of(with_scores(("policy.prior", {"column": 1.0})))
    assert " column " not in masks_key(load_policy(mine).policy, named.domain, config=named.config)
    assert evidence_key(named) != evidence_key(problem_of(with_scores()))


def test_of_a_given_policy_whose_scores_the_texts_do_not_bring_that_is_said(with_scores, one_seed, tmp_path, quiet):
    mine = of_scores(with_scores(), tmp_path / "mine")
    evaluate_policies(one_seed, tmp_path / "out", quiet, {"mine": mine})
    said = "domain  no column 'scores', which the scorer column of a given policy reads: it masks by its mean"
    assert said in quiet.file.getvalue()


ROWS = [{"text": "class0_01 generic_003", "scores": [0, i], "pos": ["NOUN", "ADV"], "tags": [1, 0]} for i in range(9)]


def domain_for(scorer, rows, tiny, folder, *settings):
    """The domain for a given policy that goes by a scorer, and what is said of it."""
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said: list[str] = []
    problem = problem_of(tiny(f"domain.path={folder}/texts.jsonl", *settings), tell=said.append)
    problem.given.add(scorer)
    return problem.domain, " ".join(said)


def test_of_what_a_given_policy_does_not_have_as_it_was_learned_with_it_that_is_said(tiny, tmp_path):
    entities, said = domain_for("entity", ROWS, tiny, tmp_path)
    assert not entities.columns and "scores.entity.column is not set, which the scorer entity of a given policy" in said
    entities, said = domain_for("entity", ROWS, tiny, tmp_path, "scores.entity.column=tags")
    assert entities.columns.keys() == {"entity"} and not said
    tags, said = domain_for("pos_column", ROWS, tiny, tmp_path)
    assert tags.columns.keys() == {"pos_column"} and "have the weights of scores.pos_column.weights here" in said


@pytest.mark.parametrize("row", [0, 5])
def test_a_text_without_the_scores_that_a_given_policy_reads_is_one_of_which_nothing_is_known(row, tiny, tmp_path):
    rows = [record | {"scores": None} if i == row else record for i, record in enumerate(ROWS)]
    known, _ = domain_for("column", rows, tiny, tmp_path)
    del rows[row]["scores"]
    found, said = domain_for("column", rows, tiny, tmp_path)
    np.testing.assert_array_equal(found.columns["column"], known.columns["column"])
    assert np.isnan(found.columns["column"]).any() and not said
    with pytest.raises(ValueError, match="no column 'scores'"):
        domain_for("column", rows, tiny, tmp_path, "policy.prior={column=1.0}")


def test_a_column_that_has_the_name_of_one_of_a_given_policy_by_chance_is_refused_with_what_to_set(tiny, tmp_path):
    rows = [record | {"scores": 0.5} for record in ROWS]
    said = r"column 'scores', which a given policy reads \(set scores.column.name to another\), row 0: expected a list"
    with pytest.raises(ValueError, match=said):
        domain_for("column", rows, tiny, tmp_path)
    assert not domain_for("column", rows, tiny, tmp_path, "scores.column.name=none")[0].columns


def test_scores_of_texts_are_read_for_a_custom_arm_that_is_compared_and_for_no_other(with_scores):
    custom = ("evaluate.custom", {"mine": {"prior": {"column": 4.0}}})
    for arms, read in (["random", "mine"], {"column"}), (["random"], set()):
        assert problem_of(with_scores(custom, ("evaluate.arms", arms))).domain.columns.keys() == read


@pytest.mark.parametrize("learns", [False, True])
def test_of_data_that_have_changed_a_trial_says_so(learns, tiny, tmp_path, quiet, policylearn):
    corpus = tmp_path / "texts.txt"
    corpus.write_text("class0_01 generic_003\n" * 9)
    config = tiny(f"domain.path={corpus}", "evaluate.seeds=1", "evaluate.arms=[random]", "learn.rounds=1")
    if learns:
        train(config, tmp_path / "out", quiet)
    else:
        evaluate_policies(config, tmp_path / "out", quiet, {})

    def said():
        status, out, err = policylearn("reproduce", tmp_path / "out", "--trial", "random", 0)
        assert status == 0
        return " ".join((out + err).split())

    assert "others than those" not in (before := said()) and "changed since" not in before
    corpus.write_text("class1_01 generic_003\n" * 9)
    again = said()
    assert "random, seed 0: data, model, settings or masks are others than those of the trial that is kept" in again
    assert ("['domain.path']: changed since the run began" in again) == learns


@pytest.mark.parametrize("change", ["tensors", "rate", "gone"])
def test_a_trial_of_a_policy_that_has_changed_is_not_reproduced(change, finished, one_seed, tmp_path, quiet):
    mine, artefact = tmp_path / "mine", load_policy(finished / "policy")
    save_policy(mine, artefact, card="")
    evaluate_policies(one_seed, tmp_path / "out", quiet, {"mine": mine})
    reproduce_trial(tmp_path / "out", "mine", 0)
    if change == "tensors":
        artefact.policy.load_learned({n: v + 1 for n, v in artefact.policy.learned().items()})
    if change == "rate":
        artefact.policy.field.masking = artefact.policy.masking.model_copy(update={"rate": 0.3})
    save_policy(mine, artefact, card="") if change != "gone" else shutil.rmtree(mine)
    with pytest.raises(ValueError, match=rf"{mine}.* (has changed since|does not exist)"):
        reproduce_trial(tmp_path / "out", "mine", 0)


def test_trials_of_a_given_policy_are_not_those_of_the_arm_it_stood_in_for(finished, one_seed, tmp_path, quiet):
    config = with_arm(one_seed, "word")
    given = evaluate_policies(config, tmp_path / "out", quiet, {"word": finished / "policy"})
    assert evaluate_policies(config, tmp_path / "out", quiet, {})["arms"] != given["arms"]


def test_a_policy_of_another_tokenizer_is_refused(saved_policy, one_seed, tmp_path, quiet):
    with pytest.raises(ValueError, match="does not match the policy"):
        evaluate_policies(one_seed, tmp_path / "out", quiet, {"learned": saved_policy})
    assert not (tmp_path / "out").exists()


def test_a_policy_that_masks_words_is_marked_before_anything_is_trained_and_its_trials_are_not_lost(
    finished, one_seed, tmp_path, quiet
):
    artefact = load_policy(finished / "policy")
    artefact.policy.field.masking = artefact.policy.masking.model_copy(update={"unit": "word"})
    words = save_policy(tmp_path / "words", artefact, card="")
    artefact.policy.field.masking = artefact.policy.masking.model_copy(update={"unit": "token", "rate": 0.3})
    more = save_policy(tmp_path / "more", artefact, card="")
    result = evaluate_policies(one_seed, tmp_path / "out", quiet, {"words": words, "more": more})
    budgets = {arm: found["equal_budget"] for arm, found in result["arms"].items()}
    assert budgets["random"] and not budgets["more"]
    said = quiet.file.getvalue()
    assert said.index("of another budget: words (units), more (rate)") < said.index("training fresh models")
    assert (tmp_path / "out" / "result.json").is_file()


def test_coins_for_every_token_are_budgets_that_differ_and_no_reason_to_stop(tiny, tmp_path, quiet):
    config = tiny("evaluate.seeds=1", 'evaluate.arms=["random", "oracle"]', "masking.design=independent")
    result = evaluate_policies(config, tmp_path / "out", quiet, {})
    masked = [found["masked_tokens"][0] for found in result["arms"].values()]
    assert masked[0] != masked[1] and "but for a few tokens (design): random, oracle" in quiet.file.getvalue()


def test_no_arm_is_of_another_budget_than_random_masks_that_mask_as_it_does(tiny, tmp_path, quiet):
    """All go by spans of a rate that is drawn, but for one."""
    rate = 'masking.rate={kind="uniform",low=0.1,high=0.3}'
    arms = 'evaluate.arms=["random", "difference", "random-30"]'
    evaluate_policies(tiny("evaluate.seeds=1", arms, "masking.unit=span", rate), tmp_path / "out", quiet, {})
    said = quiet.file.getvalue()
    assert "of one budget but for a few tokens (units): random, difference\n" in said
    assert "of another budget: random-30 (rate)\n" in said


def test_who_stops_a_comparison_is_told_of_the_trials_that_are_kept(policylearn, tiny_toml, tmp_path, monkeypatch):
    saved = Run.save_trials

    def stop(run, trials):
        saved(run, trials)
        if len(trials) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save_trials", stop)
    arguments = ("cluster.backend=local", "evaluate.seeds=3", 'evaluate.arms=["random"]', "--out", tmp_path / "out")
    status, _, err = policylearn("evaluate", tiny_toml, *arguments)
    assert status == 130 and "keeps 2 finished trials" in err
