import json
import math
import sys

import pytest
import torch

from policylearn import PolicyCollator, load_policy
from policylearn.commands.train import train
from policylearn.learning.supervised.coverage import coverage
from policylearn.learning.supervised.targets import token_targets
from policylearn.problems.of_config import problem_of
from policylearn.runs.run import Run
from policylearn.runs.state import load_latest


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def state_of(folder):
    state, complaints = load_latest(folder / "checkpoints")
    assert not complaints
    return state


def test_it_learns_to_mask_the_answers(learned_answers, supervised):
    records = lines(learned_answers)
    assert [record["round"] for record in records] == [0, 1, 2, 3]
    assert "outer_loss" not in records[0] and records[3]["outer_loss"] < records[1]["outer_loss"]
    # Before learning the answers are as likely as any other word; of the budget of two and a half words they then get
    # what there is: two or three answers stand in ten words.
    assert records[0]["dev"] == pytest.approx(0.25, abs=0.05)
    assert records[3]["dev"] > 0.6 and records[3]["precision"] > 2 * records[0]["precision"]
    assert all(0.25 <= record["rate"] < 0.33 for record in records)  # more where one span is more than a quarter
    dev = token_targets(problem_of(supervised()), ["dev"])["dev"]
    found = coverage(load_policy(learned_answers / "policy").policy, dev, 0, 4)
    assert found.recall == pytest.approx(max(record["dev"] for record in records))


def test_what_is_exported_is_what_dev_chose(learned_answers):
    records, best = lines(learned_answers), state_of(learned_answers).best
    exported = load_policy(learned_answers / "policy").policy.learned()
    assert exported.keys() == best.keys() and all(torch.equal(exported[name], best[name]) for name in best)
    result = json.loads((learned_answers / "result.json").read_text(encoding="utf-8"))
    assert result["best_round"] == max(records, key=lambda record: record["dev"])["round"]
    card, page = ((learned_answers / name).read_text(encoding="utf-8") for name in ("policy/README.md", "report.html"))
    assert "rollouts" not in card and "Signal" not in card + page
    assert "- targets: answers in questions" in card
    assert "class" in card.partition("What it likes to mask")[2]


def test_the_exported_policy_is_a_collator_that_masks_answers(learned_answers):
    collator = PolicyCollator.from_pretrained(learned_answers / "policy")
    text = "generic_003 generic_001 class0_01 generic_002 class0_02 generic_004 generic_005 generic_000"
    ids = collator.tokenizer(text)["input_ids"]
    masked = torch.zeros(len(ids))
    for epoch in range(100):
        collator.set_epoch(epoch)
        masked += collator([ids])["labels"][0] != -100
    wanted = torch.tensor([token.startswith("class") for token in collator.tokenizer.convert_ids_to_tokens(ids)])
    assert float(masked[wanted].mean()) > 2 * float(masked[~wanted].mean())


@pytest.mark.parametrize("owner", ["save_round", "save_policy"])
def test_a_run_stopped_anywhere_continues_to_the_same_bits(
    learned_answers, supervised, tmp_path, quiet, monkeypatch, owner
):
    """After the second checkpoint; while the learned policy is exported."""
    original, left = getattr(Run, owner), [2]

    def stopping(*arguments):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Run, owner, stopping)
        train(supervised(), tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "result.json").exists()
    train(supervised(), tmp_path / "run", quiet)
    one, other = state_of(tmp_path / "run"), state_of(learned_answers)
    for mine, theirs in ((one.tensors, other.tensors), (one.best, other.best)):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [r["dev"] for r in one.history] == [r["dev"] for r in other.history]


def test_random_masks_cover_more_than_the_rate_where_texts_are_short(tiny, tmp_path, quiet):
    """One token of each is always masked."""
    text = "generic_000 class0_01 generic_001 generic_002"
    rows = [{"context": text, "answers": ["class0_01"], "answer_start": [12], "is_impossible": False}] * 8
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    own = (f"supervised.path={tmp_path}", "supervised.epochs=1", "policy.prior={}", "policy.network=table")
    train(tiny("learn.stages=[supervised]", *own, "evaluate.seeds=0"), tmp_path / "run", quiet)
    first = lines(tmp_path / "run")[0]
    assert first["dev"] == pytest.approx(0.25, abs=1e-3) == first["baselines"]["random"]


def test_targets_that_the_tokenizer_does_not_know_are_refused(tiny, tmp_path, quiet):
    rows = [{"context": "a b c d", "answers": ["b"], "answer_start": [2], "is_impossible": False}] * 8
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    own = (f"supervised.path={tmp_path}", "policy.prior={}", "policy.network=table", "learn.stages=[supervised]")
    with pytest.raises(ValueError, match=r"no target of train may be masked: .* set model\.tokenizer"):
        train(tiny(*own, "evaluate.seeds=0"), tmp_path / "run", quiet)


def test_texts_whose_targets_may_not_be_masked_are_left_out_and_counted(tiny, tmp_path, quiet):
    known, unknown = (f"generic_000 {word} generic_001 generic_002" for word in ("class0_01", "☃"))
    rows = [
        {"context": text, "answers": [text.split()[1]], "answer_start": [12], "is_impossible": False}
        for text in (known, unknown, known + " generic_003")
    ]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    own = (f"supervised.path={tmp_path}", "supervised.batch_size=1", "policy.prior={}", "policy.network=table")
    train(tiny("learn.stages=[supervised]", *own, "evaluate.seeds=0"), tmp_path / "run", quiet)
    said = quiet.file.getvalue()
    assert "targets of train: 1 of 3 texts are left out: the tokenizer knows none" in said
    assert "targets of train: 2 of" in said and " in 2 texts" in said
    assert all(math.isfinite(record["outer_loss"]) for record in lines(tmp_path / "run")[1:])


def test_another_seed_is_another_order_of_texts(learned_answers, supervised, tmp_path, quiet):
    train(supervised("learn.seed=1", "supervised.epochs=1"), tmp_path / "run", quiet)
    assert lines(tmp_path / "run")[0]["dev"] == lines(learned_answers)[0]["dev"]
    assert lines(tmp_path / "run")[1]["outer_loss"] != lines(learned_answers)[1]["outer_loss"]


@pytest.mark.parametrize(("network", "unit"), [("table", "token"), ("context", "word"), ("span", "token")])
def test_the_other_networks_and_units_learn_as_well(supervised, tmp_path, quiet, network, unit):
    config = supervised(f"policy.network={network}", f"masking.unit={unit}", "supervised.learning_rate=0.1")
    train(config, tmp_path / "run", quiet)
    records = lines(tmp_path / "run")
    assert records[-1]["dev"] > records[0]["dev"] + 0.2


def test_ray_is_not_asked_for_what_one_process_does(supervised, tmp_path, quiet, monkeypatch):
    monkeypatch.setitem(sys.modules, "policylearn.cluster.ray_pool", None)
    ray = ("cluster.backend=ray", "supervised.epochs=1")
    train(supervised(*ray), tmp_path / "run", quiet)
    assert (tmp_path / "run" / "result.json").exists()
    with pytest.raises(ImportError):
        train(supervised(*ray, "evaluate.seeds=1"), tmp_path / "compared", quiet)


def test_importance_is_learned_from_labelled_texts(supervised, tmp_path, quiet):
    config = supervised("supervised.targets=importance", "policy.network=table", "masking.unit=token")
    targets = token_targets(problem_of(config), ["train", "dev"])
    names = problem_of(config).tokenizer.convert_ids_to_tokens(
        targets["train"].flat[targets["train"].columns["target"] > 0]
    )
    everything = problem_of(config).tokenizer.convert_ids_to_tokens(targets["train"].flat)
    share = [sum(name.startswith("class") for name in some) / len(some) for some in (names, everything)]
    assert share[0] > 1.3 * share[1]  # class words tell the class
    train(config, tmp_path / "run", quiet)
    logits = load_policy(tmp_path / "run" / "policy").policy.network.logits.detach()
    tells = torch.tensor(
        [name.startswith("class") for name in problem_of(config).tokenizer.convert_ids_to_tokens(range(len(logits)))]
    )
    assert float(logits[tells].mean() - logits[~tells].mean()) > 0.05
    assert max(record["dev"] for record in lines(tmp_path / "run")) > lines(tmp_path / "run")[0]["dev"]
    assert "targets of train" in quiet.file.getvalue()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.network=none", 'policy.network "none" has nothing to learn'),
        ("supervised.path=/nowhere", "supervised.path /nowhere is no folder"),
        ("supervised.answers=answer", "no column 'answer'"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(supervised, tmp_path, quiet, override, message):
    with pytest.raises(ValueError, match=message):
        train(supervised(override), tmp_path / "run", quiet)


def test_answers_need_a_path(tiny):
    with pytest.raises(ValueError, match=r'supervised.targets "answers" needs supervised.path'):
        tiny("learn.stages=[supervised]")
