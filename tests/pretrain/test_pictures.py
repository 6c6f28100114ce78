"""A model of pictures trained further under the masks of a policy, from files to a checkpoint."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from transformers import trainer

from policylearn.commands.pretrain import pretrain
from policylearn.commands.score import export_scorer
from policylearn.config import Config, load_config
from policylearn.pretrain.rows import PictureRows
from policylearn.pretrain.training import Console
from policylearn.problems.of_config import problem_of

SHAPE = "image_size=8, patch_size=2, num_channels=1, hidden_size=16, num_hidden_layers=1, num_attention_heads=2"
MODELS = {
    "vit_mae": f"{SHAPE}, intermediate_size=16, decoder_hidden_size=16, decoder_num_hidden_layers=1, "
    "decoder_num_attention_heads=2, decoder_intermediate_size=16",
    "vit": f"{SHAPE}, intermediate_size=16, encoder_stride=2",
    "beit": f"{SHAPE}, intermediate_size=16, vocab_size=48, use_mask_token=true",
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Arrays of digits: the files of a task and two corpora."""
    place, found = tmp_path_factory.mktemp("digits"), load_digits()
    x = (found.images * 15.9375).astype(np.uint8)
    for part, name in enumerate(("train", "dev", "test", "domain", "general")):
        rows = slice(100 * part, 100 * part + 100)
        np.savez(place / f"{name}.npz", image=x[rows], label=found.target[rows])
    return place


def config(digits, model, *more):
    shape = f'model.architecture={{model_type="{model}", {MODELS[model]}}}'
    places = [f"task.path={digits}", *(f"{name}.path={digits}/{name}.npz" for name in ("domain", "general"))]
    short = ["pretrain.steps=4", "pretrain.batch_size=8", "pretrain.save_every=2", "pretrain.learning_rate=1e-3"]
    usual = ["patches.words=12", "patches.zones=2", "masking.rate=0.6", "masking.p_max=0.95", "policy.prior={}"]
    return load_config(None, [shape, *places, *usual, *short, "policy.network=none", "cluster.backend=local", *more])


@pytest.fixture(scope="module")
def policy(digits, tmp_path_factory):
    return export_scorer(problem_of(config(digits, "vit_mae")), "tficf", tmp_path_factory.mktemp("policy") / "tficf")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_pictures_becomes_a_plain_checkpoint(digits, policy, model, tmp_path):
    console, given = Console(record=True, width=200), config(digits, model)
    done = pretrain(given, tmp_path / "model", console, str(policy))
    said, card = console.export_text(), (tmp_path / "model/README.md").read_text()
    assert done.result["pictures"] == 100 and done.result["steps"] == 4 and np.isfinite(done.result["loss"])
    assert "masks  the masks of tficf; 0.6 of the patches" in said
    before = problem_of(given).fresh_model(0).mlm
    kind = type(before).__name__
    after = getattr(transformers, kind).from_pretrained(tmp_path / "model")
    assert f"with_its_head = {kind}.from_pretrained" in card and "restoring masked patches under the masks of" in card
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "model")
    pixels = np.load(digits / "domain.npz")["image"][0]
    seen = processor(pixels[None], return_tensors="pt", input_data_format="channels_first")["pixel_values"]
    torch.testing.assert_close(seen[0], PictureRows(problem_of(given).domain)[0]["pixel_values"])
    moved = [not torch.equal(x, after.state_dict()[name]) for name, x in before.state_dict().items()]
    assert sum(moved) > len(moved) / 2
    assert pretrain(given, tmp_path / "model", console, str(policy)).before


def test_the_policy_decides_what_is_hidden_and_how_much(digits, policy, tmp_path):
    console, given = Console(record=True, width=200), config(digits, "vit_mae")
    assert given.model.architecture.get("mask_ratio") is None  # .75 by default
    under = pretrain(given, tmp_path / "under", console, str(policy))
    plain = pretrain(given, tmp_path / "plain", console)
    assert "mask_ratio was 0.75; from now on it is the policy's" in (said := console.export_text())
    assert "masks  random masks (no --policy); 0.6 of the patches" in said
    one, other = (load_file(done.folder / "model.safetensors") for done in (under, plain))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    saved = transformers.AutoConfig.from_pretrained(under.folder)
    assert 16 - int(16 * (1 - saved.mask_ratio)) == 10  # as many as the policy's rate makes of 16


def test_pixels_that_a_checkpoint_has_not_seen_are_said(digits, tmp_path):
    problem_of(config(digits, "vit_mae")).fresh_model(0).mlm.save_pretrained(tmp_path / "seen")
    (tmp_path / "seen" / "preprocessor_config.json").write_text('{"image_mean": [0.1], "image_std": [0.2]}')
    named = config(digits, "vit_mae").model_dump(exclude_unset=True) | {"model": {"name": str(tmp_path / "seen")}}
    console = Console(record=True, width=300)
    pretrain(Config.model_validate(named), tmp_path / "model", console)
    assert "makes pixels of image_mean [0.1] and image_std [0.2], patches.mean 0.5" in console.export_text()


@pytest.mark.parametrize("rate", ['{kind="linear", rates=[0.6, 0.3]}', '{kind="uniform", low=0.4, high=0.8}'])
def test_a_share_that_moves_is_refused_before_a_model_that_removes_one(digits, rate, tmp_path):
    with pytest.raises(ValueError, match=r"removes one share of all pictures, config\.mask_ratio: set"):
        pretrain(config(digits, "vit_mae", f"pretrain.rate={rate}"), tmp_path / "model", Console(quiet=True))
    assert not [*(tmp_path / "model").glob("checkpoints/*")]


def test_a_training_that_was_stopped_goes_on(digits, policy, tmp_path, monkeypatch):
    class Interrupt(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    given, quiet = config(digits, "vit_mae"), Console(quiet=True)
    whole = pretrain(given, tmp_path / "whole", quiet, str(policy))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer, "DEFAULT_CALLBACKS", [*trainer.DEFAULT_CALLBACKS, Interrupt])
        pretrain(given, tmp_path / "stopped", quiet, str(policy))
    again = pretrain(given, tmp_path / "stopped", quiet, str(policy))
    one, other = (load_file(done.folder / "model.safetensors") for done in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_of_texts_alone_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match=r"pretrain\.packing is for texts"):
        pretrain(config(digits, "vit", "pretrain.packing=true"), tmp_path / "model", Console(quiet=True))
