"""`policylearn adapt`: what it writes says what it says, and mistakes cost seconds."""

import json
import math
import re

import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from policylearn.problems.of_config import problem_of
from policylearn.report.formats import score
from policylearn.tasks.classification import Classification
from policylearn.weight_masks.plain import text_logits
from policylearn.weight_masks.shared import SharedEncoder
from policylearn.weight_masks.storage import load_masks

SHORT = ("evaluate.weight_mask.epochs=2", "evaluate.finetune.epochs=2", "evaluate.weight_mask.learning_rate=0.05")


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A folder with a model and its tokenizer, as continued pretraining leaves one."""
    problem = problem_of(tiny())
    problem.fresh_model(3).mlm.save_pretrained(tmp_path / "checkpoint")
    problem.tokenizer.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def scores_in(out: str) -> dict[str, float]:
    return {name: float(number) for name, number in re.findall(r"^(dev|test) +([.\d]+) accuracy$", out, re.MULTILINE)}


def accuracy(split, logits) -> float:
    return (logits.argmax(1) == split.y).float().mean().item()


@pytest.fixture
def test_split(tiny):
    problem = problem_of(tiny())
    return problem.tests()["test"]


def texts_of(split):
    return split.rows.batch(range(len(split)), 0)


def test_masks_and_their_folded_model_have_the_score_that_is_said(
    policylearn, tiny_toml, tiny, tmp_path, checkpoint, test_split
):
    out = tmp_path / "out"
    arguments = (tiny_toml, *SHORT, "--model", checkpoint, "--out", out, "--fold")
    status, said, _ = policylearn("adapt", *arguments)
    assert status == 0
    assert "epoch 2 of 2: dev ." in said
    assert said.splitlines()[-1].startswith("test ") and "encoder that is not written" not in said
    result, found = json.loads((out / "result.json").read_text()), scores_in(said)
    assert found == pytest.approx({"dev": result["dev"], "test": result["test"]}, abs=5e-4)
    model = problem_of(tiny(f"model.name={checkpoint}")).fresh_model(0)
    shared = SharedEncoder(model, {"task": load_masks(out / "masks.safetensors")})
    shared.use("task")
    assert accuracy(test_split, shared(*texts_of(test_split))) == pytest.approx(found["test"], abs=5e-4)
    plain = AutoModelForTokenClassification.from_pretrained(out / "model")
    with torch.no_grad():
        assert accuracy(test_split, text_logits(plain, *texts_of(test_split))) == pytest.approx(found["test"], abs=5e-4)
    assert len(AutoTokenizer.from_pretrained(out / "model")) == len(problem_of(tiny()).tokenizer)


def test_a_fine_tuned_model_has_the_score_that_is_said(policylearn, tiny_toml, tmp_path, test_split):
    out = tmp_path / "out"
    more = ("evaluate.finetune.head=both", "evaluate.labelled=5000", "--method", "finetune")
    status, said, _ = policylearn("adapt", tiny_toml, *SHORT, *more, "--out", out)
    assert status == 0 and "encoder that is not written" not in said
    assert "finetune, evaluate.labelled=5000: train has 60 labelled examples, and all of them are used" in said
    told = json.loads((out / "result.json").read_text())["head"]
    assert re.fullmatch(r"from (ridge|zeros): dev [\d.]+, [\d.]+ from (ridge|zeros)", told) and f"head  {told}" in said
    assert sorted(path.name for path in out.iterdir()) == ["model", "result.json"]
    plain = AutoModelForTokenClassification.from_pretrained(out / "model")
    with torch.no_grad():
        found = accuracy(test_split, text_logits(plain, *texts_of(test_split)))
    assert found == pytest.approx(scores_in(said)["test"], abs=5e-4)
    card, result = (out / "model" / "README.md").read_text(), json.loads((out / "result.json").read_text())
    assert "- method: all weights trained" in card and "- model: bert from scratch" in card and "- seed: 0" in card
    assert f"- test, accuracy: {score(result['test'])}" in card


def test_without_fold_there_are_masks_only_and_the_seed_matters(policylearn, tiny_toml, tmp_path):
    files = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        status, said, _ = policylearn("adapt", tiny_toml, *SHORT, "--seed", seed, "--out", tmp_path / name)
        assert status == 0 and f"model.architecture, its weights drawn from --seed {seed}; give --model" in said
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["masks.safetensors", "result.json"]
        files.append((tmp_path / name / "masks.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]


def refuses(policylearn, *arguments) -> str:
    status, said, err = policylearn("adapt", *arguments)
    assert status == 2, said + err
    assert err.startswith("error") and "Traceback" not in err
    return err


def test_mistakes_are_one_line(policylearn, tiny_toml, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "file").touch()
    assert "is not an empty folder: choose another --out" in refuses(policylearn, tiny_toml, "--out", tmp_path)
    missing = (tiny_toml, "--out", out, "--model", "/nowhere/at/all")
    assert "'/nowhere/at/all' does not exist" in refuses(policylearn, *missing)
    layer = (tiny_toml, "--out", out, "evaluate.weight_mask.first_layer=7")
    assert "BertModel has 1 layers, the first is 0; lower first_layer" in refuses(policylearn, *layer)
    share = (tiny_toml, "--out", out, "evaluate.weight_mask.sparsity=1.5")
    assert "evaluate.weight_mask.sparsity" in refuses(policylearn, *share)
    assert not out.exists()


def test_what_could_not_be_written_is_refused_before_it_is_learned(policylearn, tiny_toml, tmp_path, monkeypatch):
    def never(*arguments):
        raise AssertionError("it was learned first")

    monkeypatch.setattr("policylearn.commands.adapt._train", never)
    modern = ["model.architecture={model_type='modernbert', hidden_size=16, num_hidden_layers=1, intermediate_size=32}"]
    modern += ["model.architecture.num_attention_heads=2"]
    said = refuses(policylearn, tiny_toml, *modern, "--fold", "--out", tmp_path / "out")
    assert "type 'modernbert' is more than a linear map" in said


def test_a_fine_tuning_that_diverges_is_said_in_one_line(policylearn, tiny_toml, tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(Classification, "loss", lambda readout, outputs, y: outputs.sum() * math.nan)
    status, _, said = policylearn("adapt", tiny_toml, *SHORT, "--model", checkpoint, "--out", tmp_path / "out")
    assert status == 1 and "the loss became nan in epoch 0: lower the learning rate" in said
