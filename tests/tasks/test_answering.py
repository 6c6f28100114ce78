"""Closed-book questions as the downstream task: fine-tuning, the metrics, trials, a whole run."""

import copy
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import BartConfig, BartForConditionalGeneration

from policylearn.adapt import finetune
from policylearn.adapt.chosen import FrozenFeatures
from policylearn.artefact import load_policy
from policylearn.commands.train import train
from policylearn.config import TaskConfig, load_config
from policylearn.data.questions import Question, read_questions, tokenize_questions
from policylearn.data.remarks import answer_lines
from policylearn.evaluation.identity import evidence_key
from policylearn.evaluation.trial import run_trial
from policylearn.messages.watch import Unseen
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.models.whole import inner_model
from policylearn.policy.policy import uniform_policy
from policylearn.problems.of_config import problem_of
from policylearn.tasks.questions import ClosedBook, choice_losses

FACTS = Path(__file__).parents[2] / "configs" / "planted_facts.toml"


class Labels(Unseen):
    """Progress that remembers what it was told of every epoch."""

    def __init__(self):
        self.labels = []

    def advance(self, n=1, label=""):
        self.labels += [label] if label else []


TUNED = "evaluate.finetune.epochs=30", "evaluate.finetune.learning_rate=0.02", "evaluate.finetune.batch_size=8"


@pytest.fixture(scope="module")
def answerer(asked):
    """Problem, dev score and model after fine-tuning on all of train; the answer follows from the question's words."""
    problem = problem_of(asked(*TUNED, "task.metric=exact_match"))
    seen = Labels()
    chosen = finetune.fit(FrozenFeatures(problem, problem.fresh_model(0)), np.arange(40), 0, seen)
    return problem, chosen.dev, chosen.tuned, seen


def test_fine_tuning_learns_to_answer_and_dev_chooses_the_epoch(answerer):
    problem, dev, model, seen = answerer
    scores = [float(label.rpartition("dev ")[2]) for label in seen.labels]
    assert len(scores) == 30 and max(scores) == pytest.approx(dev, abs=0.001) and dev > 0.9
    assert problem.kind.score(model, problem.labelled("dev")) == dev
    fresh = problem.fresh_model(0)
    assert problem.kind.exact_match(fresh, problem.labelled("dev")) < 0.3


def test_what_is_written_is_the_likeliest_token_by_token(answerer):
    """By hand, one token at a time, without transformers' generation."""
    problem, _, model, _ = answerer
    dev, tokenizer = problem.labelled("dev"), problem.tokenizer
    config = model.mlm.config
    for row, answer in list(enumerate(problem.kind.write_answers(model, dev)))[:5]:
        written = [config.decoder_start_token_id]
        while len(written) < 7 and (len(written) < 2 or written[-1] != config.eos_token_id):
            ids = torch.from_numpy(dev.rows[row]).long()[None]
            with torch.no_grad():
                logits = model.mlm(input_ids=ids, decoder_input_ids=torch.tensor([written])).logits
            written.append(int(logits[0, -1].argmax()))
        assert answer == tokenizer.decode(written, skip_special_tokens=True)


@pytest.mark.parametrize("kind", ["Bart", "MBart", "Pegasus"])
def test_an_answer_begins_as_the_decoder_learns_to_begin_one(answerer, kind):
    problem, seen = answerer[0], []
    tokenizer, dev = problem.tokenizer, problem.labelled("dev")
    shape = {"vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    config = getattr(transformers, f"{kind}Config")(**shape, pad_token_id=tokenizer.pad_token_id)
    model = inner_model(getattr(transformers, f"{kind}ForConditionalGeneration")(config).eval())
    keep = lambda module, args, given: seen.append(given["input_ids"][:, 0])  # noqa: E731
    watching = model.mlm.get_decoder().register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        problem.kind.likelihood(model, dev)
        learned = torch.cat(seen).unique()
        seen.clear()
        problem.kind.write_answers(model, dev)
    watching.remove()
    assert len(learned) == 1 and seen[0].eq(learned).all()


def test_an_answer_that_begins_with_its_own_end_is_not_written(answerer):
    problem, pad = answerer[0], answerer[0].tokenizer.pad_token_id
    shape = {"vocab_size": len(problem.tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1}
    config = transformers.MBartConfig(**shape, pad_token_id=pad)
    model = inner_model(transformers.MBartForConditionalGeneration(config).eval())
    dev = copy.deepcopy(problem.labelled("dev"))
    dev.answers.flat[dev.answers.offsets[1] - 1] = pad + 1
    with pytest.raises(ValueError, match=r"'mbart' begins with the last token of an answer, and answers end with 2"):
        problem.kind.write_answers(model, dev)


def test_any_accepted_answer_is_right_and_no_other(answerer):
    problem, _, model, _ = answerer
    dev = copy.deepcopy(problem.labelled("dev"))
    written = problem.kind.write_answers(model, dev)
    right = [answer in accepted for answer, accepted in zip(written, dev.accepted, strict=True)]
    assert problem.kind.exact_match(model, dev) == pytest.approx(np.mean(right))
    dev.accepted[0].append(f"The {written[0].upper()}!")
    dev.accepted[1][:] = ["nothing of the sort"]
    assert problem.kind.exact_match(model, dev) == pytest.approx(np.mean([True, False, *right[2:]]))


SETTINGS = {"min_length": 5, "forced_bos_token_id": 9, "no_repeat_ngram_size": 1, "num_return_sequences": 2}


@pytest.mark.parametrize("name", SETTINGS)
def test_how_a_checkpoint_would_write_by_itself_changes_no_answer(answerer, name):
    problem, _, model, _ = answerer
    dev, other = problem.labelled("dev"), copy.deepcopy(model)
    setattr(other.mlm.generation_config, name, SETTINGS[name])
    assert problem.kind.write_answers(other, dev) == problem.kind.write_answers(model, dev)
    assert getattr(other.mlm.generation_config, name) == SETTINGS[name]


def test_an_answer_is_right_as_the_tokenizer_gives_it_back(wordpiece):
    kind, gold = ClosedBook(wordpiece, "exact_match", 6), ["bado.ne", "ne", "bado ☃"]
    said = [wordpiece.decode(wordpiece(answer)["input_ids"], skip_special_tokens=True) for answer in gold]
    kind.write_answers = lambda model, questions: said
    assert said[0] != gold[0] and kind.exact_match(None, SimpleNamespace(accepted=[[one] for one in gold])) == 2 / 3


def test_answers_are_tokenised_once_however_often_they_are_scored(wordpiece):
    asked = []

    class Counted:
        def __call__(self, texts):
            asked.append(texts)
            return wordpiece(texts)

        def __getattr__(self, name):
            return getattr(wordpiece, name)

    kind, accepted = ClosedBook(Counted(), "exact_match", 6), [["bado.ne", "ne"], ["ne"], []]
    given_back = wordpiece.decode(wordpiece("bado.ne")["input_ids"], skip_special_tokens=True)
    kind.write_answers = lambda model, questions: [given_back, "bado", "ne"]
    for _ in range(2):
        assert kind.exact_match(None, SimpleNamespace(accepted=accepted)) == 1 / 3
    assert asked == [["bado.ne", "ne"]]
    accepted[1].append("bado")
    assert kind.exact_match(None, SimpleNamespace(accepted=accepted)) == 2 / 3


def test_the_likeliest_choice_is_taken(answerer):
    problem, _, model, _ = answerer
    dev = problem.labelled("dev")
    losses = choice_losses(model, dev, problem.kind.pad_id)
    for i in (0, 7):
        for j in range(*dev.first[i : i + 2]):
            ids, labels = (torch.from_numpy(x).long()[None] for x in (dev.rows[i], dev.choices[int(j)]))
            with torch.no_grad():
                alone = model.mlm(input_ids=ids, labels=labels).loss * labels.numel()
            assert losses[j] == pytest.approx(alone.item(), rel=1e-3, abs=1e-4)
    assert problem.kind.choice(model, dev) > 0.9 > problem.kind.choice(problem.fresh_model(0), dev)


def test_every_choice_that_is_an_answer_is_right(answerer):
    """Not the first of them alone; and keys change where the score may."""
    problem, _, model, _ = answerer
    dev = copy.deepcopy(problem.labelled("dev"))
    asked = [Question(f"{word} {word}", ["a", word], ["b", word, "a"]) for word in ("generic_001", "generic_002")]
    made = tokenize_questions(asked, problem.tokenizer, 16, 6)
    assert made.right.tolist() == [False, True, True] * 2
    before, keys = problem.kind.choice(model, dev), b"".join(dev.contents())
    likeliest = dev.first[:-1] + [losses.argmin() for losses in per_question(model, dev, problem)]
    dev.right[likeliest] = True
    assert before < 1 == problem.kind.choice(model, dev) and b"".join(dev.contents()) != keys
    dev.right[:] = False
    assert problem.kind.choice(model, dev) == 0


def per_question(model, questions, problem):
    losses = choice_losses(model, questions, problem.kind.pad_id) / np.diff(questions.choices.offsets)
    return np.split(losses, questions.first[1:-1])


@pytest.mark.parametrize("accepted", [["The"], ["!!!"], ["Paris", ""], ["A", "a "]])
def test_whoever_answers_nothing_is_wrong(answerer, monkeypatch, accepted):
    problem, _, model, _ = answerer
    dev = copy.deepcopy(problem.labelled("dev"))
    dev.accepted[:] = [accepted] * len(dev)
    for written, right in (("", 0), (" ", 0), (accepted[0], 1), (accepted[0].lower(), 1), ("London", 0)):
        monkeypatch.setattr(problem.kind, "write_answers", lambda *_, said=written: [said] * len(dev))
        assert problem.kind.exact_match(model, dev) == right


def test_answers_and_choices_that_are_cut_are_said(asked):
    tokenizer = problem_of(asked()).tokenizer
    one, long, other = "generic_001", "generic_001 generic_002 generic_003", "generic_001 generic_002 generic_004"
    questions = [Question(one, [long], [long, other]), Question(one, [one, " "], [one, "generic_002"])]
    blank = "1 of 2 dev questions accept a blank answer, and none that is written counts as it: take it out of them"
    assert answer_lines("dev", tokenize_questions(questions, tokenizer, 9, 9), 9) == [blank]
    assert answer_lines("dev", tokenize_questions(questions, tokenizer, 9, 4), 4) == [
        "1 of 2 dev answers are longer than 4 tokens and cut: task.answer_length",
        "2 of 4 dev choices are longer than 4 tokens and cut: task.answer_length",
        "1 of 2 dev questions have choices of the same tokens, the first of which is taken: mend them, or raise "
        "task.answer_length",
        blank,
    ]


def test_answers_may_be_records_as_squad_has_them(tmp_path):
    row = {
        "text": "Where?",
        "answers": {"text": ["Paris", "in Paris"], "answer_start": [3, 0]},
        "choices": {"text": ["Paris", "Rome"], "label": ["A", "B"]},
    }
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    task = TaskConfig(path=str(tmp_path), answers="answers", choices="choices", kind="questions")
    question = read_questions(task).splits["train"][0]
    assert (question.accepted, question.choices) == (["Paris", "in Paris"], ["Paris", "Rome"])


def test_a_problem_says_so_of_its_answers(asked, tmp_path):
    said: list[str] = []
    rows = [{"question": one, "answers": [one], "choices": [one, "?"]} for one in ("generic_001", "\u200b")]
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    problem_of(asked("task.answer_length=3", f"task.path={tmp_path}"), tell=said.append).labelled("dev")
    assert "task  1 of 2 dev answers hold no token that the tokenizer knows" in said
    assert "task  3 of 4 dev choices hold no token that the tokenizer knows" in said
    with pytest.raises(
        ValueError, match=r"2 of 2 dev answers hold no token .*: raise task\.answer_length, or set model"
    ):
        problem_of(asked("task.answer_length=2", f"task.path={tmp_path}")).labelled("dev")


def test_likelihood_is_one_for_what_is_certain_and_that_of_chance_for_what_is_not(asked):
    problem = problem_of(asked())
    size = len(problem.tokenizer)
    blank = BartForConditionalGeneration(BartConfig(vocab_size=size, d_model=16, encoder_layers=1, decoder_layers=1))
    blank.lm_head.weight.data.zero_()
    with torch.no_grad():
        found = problem.kind.likelihood(Seq2SeqModel(blank.eval()), problem.labelled("dev"))
    assert found == pytest.approx(1 / size, rel=1e-5)


@pytest.mark.parametrize("metric", ["likelihood", "exact_match", "choice"])
def test_a_trial_is_scored_by_the_metric_of_the_task(asked, metric):
    problem = problem_of(asked(f"task.metric={metric}", "evaluate.finetune.epochs=2", "evaluate.labelled=16"))
    found = run_trial(problem, uniform_policy(problem.tokenizer), "random", seed=1)
    assert 0 <= found.score <= 1 and 0 <= found.dev <= 1 and found.masked_tokens > 0
    assert math.isfinite(found.held_out_loss)
    assert found.score == run_trial(problem, uniform_policy(problem.tokenizer), "random", seed=1).score


def test_trials_depend_on_the_answers(asked):
    keys = []
    for change in (None, "answers", "choices"):
        problem = problem_of(asked())
        data = problem.data()
        if change == "answers":
            data.examples["train"].accepted[3][1] = "another"
        if change == "choices":
            data.examples["dev"].choices.flat[0] += 1
        keys.append(evidence_key(problem_of(asked(), data=data)))
    assert len(set(keys)) == 3


def test_a_whole_run_learns_compares_and_exports(asked, tmp_path, quiet):
    few = "evaluate.seeds=1", "learn.rounds=2", "learn.select=last", "evaluate.finetune.epochs=2"
    config = asked('evaluate.arms=["random", "learned"]', *few)
    train(config, tmp_path / "run", quiet, command="policylearn train asked.toml")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result["arms"]) == {"random", "learned"}
    assert all(0 < arm["scores"][0] < 1 for arm in result["arms"].values())
    policy = load_policy(tmp_path / "run" / "policy").policy
    assert sum(float(p.abs().sum()) for p in policy.learned().values()) > 0


def test_on_planted_facts_answers_in_texts_teach_a_policy_what_will_be_asked_for(tmp_path, quiet):
    tiny = ["planted_facts.train=12", "planted_facts.dev=4", "planted_facts.test=4", "planted_facts.people=20"]
    brief = ["inner.steps=3", "evaluate.finetune.epochs=1", "evaluate.seeds=1", "cluster.backend=local"]
    config = load_config(FACTS, [*tiny, *brief, "supervised.learning_rate=0.1"])
    result = train(config, tmp_path / "run", quiet)
    assert result["metric"] == "exact_match" and set(result["arms"]) == set(config.evaluate.arms)
    problem, policy = problem_of(config), load_policy(tmp_path / "run" / "policy").policy
    ids, real = problem.domain.batch(range(len(problem.domain)), problem.tokenizer.pad_token_id)
    useful = problem.domain.values(range(len(problem.domain)), ids.shape[1])["oracle-context"] > 0
    spent = policy.probabilities(ids, real)
    assert spent[useful].sum() > 0.5 * spent.sum() and useful.sum() < 0.2 * real.sum()
