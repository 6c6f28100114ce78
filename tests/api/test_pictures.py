"""Learning from pictures in Python: data sets and models as objects, and no domain of one's own."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import policylearn as pl
from policylearn.api.inputs import Inputs
from policylearn.problems.of_config import problem_of

FEATURES = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
RECIPE = """
patches = { words = 12, zones = 2 }
masking = { rate = 0.6, p_max = 0.95 }
policy = { prior = {}, network = "none" }
inner = { steps = 4, batch_size = 8 }
credit = { points = 1, batches = 1, resplits = 1 }
learn.stages = ["expected"]
model.architecture = { model_type = "vit", image_size = 8, patch_size = 2, num_channels = 1, hidden_size = 16, \
num_hidden_layers = 1, num_attention_heads = 2, intermediate_size = 16, encoder_stride = 2 }
"""


@pytest.fixture(scope="module")
def digits():
    """Pixels [100, 8, 8] and labels of five splits."""
    found = load_digits()
    x = (found.images * 15.9375).astype(np.uint8)
    names = ("train", "dev", "test", "domain", "general")
    return {name: (x[100 * i : 100 * i + 100], found.target[100 * i : 100 * i + 100]) for i, name in enumerate(names)}


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def data_set(pixels, labels):
    rows = {"image": [Image.fromarray(picture) for picture in pixels], "label": labels.tolist()}
    return datasets.Dataset.from_dict(rows, features=FEATURES)


def test_data_sets_and_a_model_as_objects(digits, recipe, tmp_path):
    task = datasets.DatasetDict({name: data_set(*digits[name]) for name in ("train", "dev", "test")})
    corpora = {name: data_set(*digits[name]) for name in ("domain", "general")}
    run = pl.learn(task=task, **corpora, config=recipe, out=tmp_path / "run", quiet=True)
    assert run.policy.tokenizer is None and run.policy.policy.names == ["credit"]
    model = pl.learn(task=task, **corpora, config=recipe, out=tmp_path / "model", quiet=True)
    for name, tensor in run.policy.policy.tensors().items():
        assert torch.equal(tensor, model.policy.policy.tensors()[name])
    kept = Inputs(tmp_path / "run", pictures=True)
    assert kept.task(task) == str(run.config.task.path)
    other = data_set(digits["domain"][0] // 2, digits["domain"][1])
    assert kept.texts("domain", other, "text") != run.config.domain.path == kept.texts("domain", corpora["domain"], "x")


def test_without_a_domain_the_pictures_of_train_are_it(digits, recipe, tmp_path, capsys):
    for name in ("train", "dev", "test", "general"):
        np.savez(tmp_path / f"{name}.npz", image=digits[name][0], label=digits[name][1])
    given = {"config": recipe, "settings": {"general.path": str(tmp_path / "general.npz")}}
    run = pl.learn(task=tmp_path, **given, out=tmp_path / "run")
    assert run.config.domain.path == str(tmp_path / "train.npz")
    assert "domain  none is given: the pictures of the task's train split" in capsys.readouterr().out
    model = pl.learn(
        task=tmp_path, **given, out=tmp_path / "own", quiet=True, model=problem_of(run.config).fresh_model(0).mlm
    )
    assert str(model.config.model.name).startswith(str(tmp_path / "own/inputs/model-"))


def test_rows_of_arrays_are_refused_with_what_will_do(digits, recipe, tmp_path):
    rows = [{"image": picture, "label": int(label)} for picture, label in zip(*digits["train"], strict=True)]
    with pytest.raises(ValueError, match="task: pictures are given as a folder"):
        pl.learn(task=rows, config=recipe, out=tmp_path / "run", quiet=True)


def test_one_data_set_is_no_task_of_pictures(digits, recipe, tmp_path):
    with pytest.raises(ValueError, match="none is carved off it: give a DatasetDict of train, dev and test"):
        pl.learn(task=data_set(*digits["train"]), config=recipe, out=tmp_path / "run", quiet=True)


def test_a_row_without_a_picture_is_named(digits, recipe, tmp_path):
    parts = {name: data_set(*digits[name]) for name in ("train", "dev", "test")}
    lacking = datasets.Dataset.from_dict({"image": [None], "label": [0]}, features=FEATURES)
    task = datasets.DatasetDict(parts | {"train": datasets.concatenate_datasets([parts["train"], lacking])})
    with pytest.raises(ValueError, match=r"train, row 100 has no picture in column 'image'"):
        pl.learn(task=task, domain=parts["dev"], general=parts["dev"], config=recipe, out=tmp_path / "run", quiet=True)
