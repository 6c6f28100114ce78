"""Long work says what it does, how much there is of it, and counts to the end."""

from contextlib import contextmanager

import numpy as np
import pytest

from policylearn.adapt import finetune, weight_mask
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.arms.arms import initial_policy
from policylearn.arms.policies import build_uniform, scores_of
from policylearn.artefact import load_policy
from policylearn.commands.export import export
from policylearn.credit import outer
from policylearn.credit.reliability import measure
from policylearn.learning.supervised.targets import token_targets
from policylearn.messages.watch import Watch
from policylearn.problems.of_config import problem_of


class Recorder(Watch):
    """Keeps what was begun: name, total, how much was done, labels."""

    def __init__(self):
        self.works = []

    @contextmanager
    def begin(self, work, total=None):
        self.works.append([work, total, 0, []])
        yield self._counting(self.works[-1])

    def _counting(self, entry):
        class Counting:
            def advance(self, n=1, label=""):
                entry[2] += n
                entry[3] += [label] if label else []

        return Counting()

    def check(self, *expected: str) -> None:
        """All of these were begun; whatever has a total came to it, and no more."""
        assert set(expected) <= {work for work, *_ in self.works}
        assert all(done == total for _, total, done, _ in self.works if total is not None)
        assert all(done for _, _, done, _ in self.works)


@pytest.fixture
def recorder():
    return Recorder()


TOTAL_UNKNOWN = {"counting texts of the domain corpus", "counting texts of the general corpus"}


@pytest.mark.parametrize(
    ("scorer", "works"),
    [
        ("difference", ["running the encoder on words"]),
        ("saliency", ["features of labelled texts", "saliency of labelled texts"]),
        ("selective", ["features of labelled texts", "testing words of labelled texts"]),
        ("loss", ["MLM loss of texts of the domain"]),
        ("pmi", ["finding collocations in texts", "collocations of the words of texts"]),
        ("informative", ["counting neighbours in texts"]),
    ],
)
def test_scorers_say_how_far_they_are(tiny, recorder, scorer, works):
    scores_of(problem_of(tiny("scores.difference.embedding=encoder"), recorder), [scorer])
    recorder.check(*works)
    unknown = {work for work, total, *_ in recorder.works if total is None}
    assert unknown <= TOTAL_UNKNOWN | {"tokenising texts of the domain corpus"}


@pytest.mark.parametrize("chunk", [64, 100_000])
def test_credits_count_texts_through_the_model_there_and_back(tiny, recorder, monkeypatch, chunk):
    monkeypatch.setattr(outer, "PART", chunk)
    settings = ("credit.points=2", "credit.batches=3", "credit.examples=40")
    scores_of(problem_of(tiny(*settings), recorder), ["credit"])
    parts = [
        f"credits, point {n} of 2: {work}" for n in (1, 2) for work in ("training, steps", "batches of masked texts")
    ]
    recorder.check(*parts, "credits, point 2 of 2: outer gradient, passes of labelled texts")
    totals = {work: total for work, total, *_ in recorder.works}
    assert totals["credits, point 2 of 2: batches of masked texts"] == 6
    assert totals["credits, point 2 of 2: outer gradient, passes of labelled texts"] == (1 + outer.BACK) * 40


def test_a_diagnosis_says_how_far_it_is(tiny, recorder):
    problem = problem_of(tiny("credit.points=2", "credit.batches=3"), recorder)
    measure(problem, initial_policy(problem), build_uniform(problem))
    point = "diagnosing, point 2 of 2: "
    recorder.check(
        point + "training, steps",
        point + "outer gradient, passes of labelled texts",
        point + "batches of masked texts, half 2 of 2",
    )


def test_corpora_and_splits_are_tokenised_in_sight(tiny, recorder):
    problem_of(tiny(), recorder).data()
    recorder.check(
        "tokenising texts of the domain corpus", *(f"tokenising texts of {s}" for s in ("train", "dev", "test"))
    )


@pytest.mark.parametrize("how", [finetune, weight_mask])
def test_training_on_labels_counts_texts_and_tells_every_epoch(tiny, recorder, how):
    problem = problem_of(tiny("evaluate.finetune.epochs=2", "evaluate.weight_mask.epochs=2"))
    with recorder.begin("texts", 2 * 50) as progress:
        how.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(50), 0, progress)
    recorder.check("texts")
    labels = recorder.works[0][3]
    assert [label.split(":")[0] for label in labels] == ["epoch 1 of 2", "epoch 2 of 2"]


def test_targets_of_words_that_matter_are_found_in_sight(tiny, recorder):
    settings = ("learn.stages=[supervised]", "supervised.targets=importance", "policy.network=context")
    token_targets(problem_of(tiny(*settings), recorder), ("train", "dev"))
    recorder.check("features of labelled texts", "testing words of labelled texts")


def test_an_export_says_how_far_it_is(saved_policy, trained_texts, tmp_path, recorder):
    (tmp_path / "texts.txt").write_text("\n".join(trained_texts), encoding="utf-8")
    export(saved_policy, tmp_path / "out", "annotated", corpus=str(tmp_path / "texts.txt"), watch=recorder)
    recorder.check("mean logits over texts", "fidelity on held-out texts", "scoring texts")
    assert load_policy(tmp_path / "out" / "policy")
