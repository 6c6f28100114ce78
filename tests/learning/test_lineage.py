"""What is said of how a policy came about, for every way there is."""

import io

import pytest
from rich.console import Console

from policylearn import load_policy
from policylearn.commands.export import export, open_policy
from policylearn.commands.inspect import facts
from policylearn.commands.train import train
from policylearn.config import Config
from policylearn.learning.lineage import exported, kept_round, learned_of, lineage, prior_of
from policylearn.runs.state import State

CREDITS = ("policy.prior={credit = 2.0}", "policy.network=none", "credit.points=2", "credit.batches=4")
NO_ROUNDS = ("learn.rounds=0", "evaluate.seeds=1", 'evaluate.arms=["random", "learned"]')
OF_CREDITS = {"credit": "expected credit of 9 words"}


def config(**learn) -> Config:
    return Config.model_validate({"learn": {"rounds": 3, "rollouts": 2} | learn})


def state(rounds: int, best: int = 0) -> State:
    return State(round=rounds, history=[{"round": n} for n in range(rounds)], numbers={"best_round": best})


@pytest.mark.parametrize(
    ("learn", "ended", "known", "said", "what"),
    [
        ({"rounds": 0}, State(), {}, "nothing: the prior as it is; no rounds of learning", "prior"),
        (
            {"rounds": 0, "select": "last"},
            State(),
            {},
            "nothing: the prior as it is; no rounds of learning",
            "prior",
        ),
        ({"rounds": 0}, State(), OF_CREDITS, "in the prior, from the labels of train (credit); no rounds", "learned"),
        ({}, State(), OF_CREDITS, 'no rounds of learning, to which policy.network = "none" leaves nothing', "learned"),
        ({}, state(3), {}, "in 3 rounds of 2 rollouts each; exported: the prior, which no round beat on dev", "prior"),
        ({}, state(3), OF_CREDITS, "exported: the prior, which no round beat on dev", "learned"),
        (
            {},
            state(3, best=2),
            {},
            "in 3 rounds of 2 rollouts each; exported: the policy after 2 rounds, the best on dev",
            "learned",
        ),
        (
            {},
            state(1),
            {},
            "1 round of 2 rollouts each; exported: the prior, with which every round was run, so",
            "prior",
        ),
        ({"lag": 2}, state(3), {}, "exported: the prior, with which every round was run, so that dev had no", "prior"),
        ({"lag": 1}, state(3, best=1), {}, "exported: the prior, which no round beat on dev", "prior"),
        (
            {"lag": 1},
            state(3, best=2),
            {},
            "the policy after 1 round, the best on dev, averaged over up to 3 rounds",
            "learned",
        ),
        ({"select": "last"}, state(3), {}, "exported: the policy after the last round", "learned"),
        ({"start": "a/policy", "rounds": 0}, State(), {}, "nothing beyond the policy it started from", "start"),
        (
            {"start": "a/policy"},
            state(2),
            {},
            "exported: the policy it started from, which no round beat on dev",
            "start",
        ),
    ],
)
def test_what_was_learned_and_what_was_exported(learn, ended, known, said, what):
    settings = config(**learn)
    assert said in learned_of(settings, ended, known)
    assert exported(settings, ended, known) == what
    if not ended.history:
        assert kept_round(settings, ended) == -1 and "beat" not in learned_of(settings, ended, known)


@pytest.mark.parametrize(
    ("best", "select", "said"),
    [
        (0, "dev", "exported: the prior, which no pass beat on dev"),
        (2, "dev", "exported: the policy after 2 passes, the best on dev"),
        (0, "last", "exported: the policy after the last pass"),
    ],
)
def test_of_token_targets_passes_are_counted(best, select, said):
    settings = Config.model_validate(
        {"learn": {"stages": ["supervised"], "select": select}, "supervised": {"targets": "importance"}}
    )
    found = learned_of(settings, state(4, best), {})
    assert found == f"in 3 passes over texts with known targets (importance); {said}"


def test_what_a_prior_is():
    settings = Config.model_validate({"policy": {"prior": {"difference": 12, "credit": 0.5}}})
    assert prior_of(settings, OF_CREDITS) == "12 · difference + 0.5 · credit; credit: expected credit of 9 words"
    assert prior_of(Config.model_validate({"policy": {"prior": {}}}), {}) == "uniform masks"
    assert (
        prior_of(config(start="runs/x/a/policy"), {"learned": "in 3 rounds"})
        == "the policy policy (learned: in 3 rounds)"
    )


@pytest.fixture(scope="module")
def of_credits(tiny, tmp_path_factory):
    folder, console = tmp_path_factory.mktemp("credits") / "run", Console(file=io.StringIO(), width=300)
    train(tiny(*CREDITS, *NO_ROUNDS), folder, console)
    return folder, console.file.getvalue()


def test_a_policy_of_credits_says_from_what_it_was_learned_wherever_it_is_told_of(of_credits, tiny, told):
    folder, console = of_credits
    examples = tiny().planted.train
    for place, text in (told(folder) | {"console": console}).items():
        assert (
            "expected credit of " in text and " masked tokens at 2 states of a training under uniform masks" in text
        ), place
        assert f"under the labels of {examples} examples of train" in text, place
        assert "in the prior, from the labels of train (credit); no rounds of learning" in text, place
        assert "beat on dev" not in text and "nothing: the prior" not in text, place
    assert "the learned policy scores" in told(folder)["page"]
    shown = facts(load_policy(folder / "policy"))
    assert shown["prior"].startswith("2 · credit; credit: expected credit") and "from the labels" in shown["learned"]


def test_what_is_said_outlives_a_run_that_is_continued(tiny, tmp_path, quiet, monkeypatch, of_credits, told):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("policylearn.commands.train.compare", interrupted)
        train(tiny(*CREDITS, *NO_ROUNDS), tmp_path / "run", quiet)
    train(tiny(*CREDITS, *NO_ROUNDS), tmp_path / "run", quiet)
    assert told(tmp_path / "run")["result"] == told(of_credits[0])["result"]


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_a_heuristic_as_it_is_says_that_nothing_was_learned(tiny, tmp_path, quiet, told):
    train(tiny(*NO_ROUNDS), tmp_path / "run", quiet)
    for place, text in told(tmp_path / "run").items():
        assert "nothing: the prior as it is; no rounds of learning" in text and "beat on dev" not in text, place
    page = told(tmp_path / "run")["page"]
    assert "the exported policy, which is its prior as it is, scores" in page and "learned policy scores" not in page
    assert ">prior</h3>" not in page and "The policy is its prior as it is" in page and ">change<" not in page


def test_rounds_say_which_of_them_was_kept(finished, tiny, told):
    settings = tiny()
    for place, text in told(finished).items():
        assert f"in {settings.learn.rounds} rounds of {settings.learn.rollouts} rollout" in text, place
        assert "exported: " in text and ("the best on dev" in text or "which no round beat on dev" in text), place


def test_a_round_a_table_and_an_annotated_set_say_what_they_are(finished, tmp_path):
    one = open_policy(finished, 1)
    assert (
        one.provenance["learned"].startswith("the policy after 1 round of ")
        and "exported:" not in one.provenance["learned"]
    )
    export(finished, tmp_path / "table", "table")
    table = load_policy(tmp_path / "table")
    assert table.provenance["form"].startswith("a table of mean logits per token id, in place of the policy")
    assert "1 · policy" not in facts(table)["prior"] and facts(table)["learned"].startswith("in 3 rounds")


@pytest.mark.parametrize("scorer", ["credit", "saliency", "tficf"])
def test_a_scorer_by_itself_says_whether_it_read_labels(policylearn, tiny_toml, scorer, tmp_path):
    small = ("credit.points=1", "credit.batches=4")
    status, _, err = policylearn("score", tiny_toml, *small, "--scorer", scorer, "--out", tmp_path / "policy")
    assert status == 0, err
    card = (tmp_path / "policy" / "README.md").read_text(encoding="utf-8")
    assert ("nothing: the prior as it is" in card) == (scorer == "tficf")
    assert (f"from the labels of train ({scorer})" in card) == (scorer != "tficf")


def test_a_scorer_that_no_policy_can_be_is_refused_before_it_scores(policylearn, tiny_toml, tmp_path, monkeypatch):
    monkeypatch.setattr("policylearn.commands.score.scored_words", None)
    status, _, err = policylearn("score", tiny_toml, "--scorer", "amlm", "--out", tmp_path / "policy")
    assert status == 2 and "amlm" in err


def test_of_an_older_artefact_nothing_is_said_that_is_not_known(make_artefact, make_policy):
    assert (
        facts(make_artefact(make_policy("none", prior=("credit",))))["learned"] == "in the prior, from labels (credit)"
    )
    assert "learned" not in facts(make_artefact(make_policy("none", prior=("policy",))))
    assert "learned" not in facts(make_artefact(make_policy("table")))


def test_a_policy_that_starts_from_another_names_it(of_credits, tiny):
    found = lineage(config(start="x/policy"), state(2, best=1), {"learned": "in the prior"})
    assert found["prior"] == "the policy x/policy (learned: in the prior)"
