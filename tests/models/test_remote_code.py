"""Code that comes with a checkpoint runs if `model.trust_remote_code` says so, and never otherwise."""

import json
import sys

import pytest
from transformers import AutoConfig, AutoModelForMaskedLM

from policylearn.models.loading import load_model
from policylearn.models.tokenizer import load_tokenizer
from policylearn.scores.tagged import load_recogniser
from policylearn.scores.vectors import load_encoder

CODE = """
import os, pathlib
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast
pathlib.Path(os.environ["RAN"]).touch()
class OddConfig(BertConfig):
    model_type = "odd"
class OddModel(BertModel):
    config_class = OddConfig
class OddForMaskedLM(BertForMaskedLM):
    config_class = OddConfig
    def __init__(self, config):
        super().__init__(config)
        config.model_type = "bert"  # whose head it has
class OddTokenizer(PreTrainedTokenizerFast):
    pass
"""
CLASSES = {"AutoConfig": "OddConfig", "AutoModel": "OddModel", "AutoModelForMaskedLM": "OddForMaskedLM"}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file that is there once the checkpoint's code has run."""
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "ran"


@pytest.fixture
def checkpoint(tmp_path, tokenizer, ran):
    """A BERT, and a tokenizer, of classes of their own."""
    folder = tmp_path / "odd"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model("bert", vocab_size=len(tokenizer), **sizes)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "odd.py").write_text(CODE, encoding="utf-8")
    classes = {auto: f"odd.{name}" for auto, name in CLASSES.items()}
    amend(folder / "config.json", {"model_type": "odd", "auto_map": classes})
    own = {"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": [None, "odd.OddTokenizer"]}}
    amend(folder / "tokenizer_config.json", own)
    return str(folder)


def amend(path, changes):
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def model_of(config):
    return load_model(config.model, 10, 0, seed=0, attention=None).mlm


def tokenizer_of(config):
    return load_tokenizer(config.model)


@pytest.mark.parametrize("load", [model_of, tokenizer_of])
def test_it_runs_if_the_user_says_so_and_not_otherwise(tiny, checkpoint, ran, load):
    with pytest.raises(ValueError, match=r"trust_remote_code"):
        load(tiny(f"model.name={checkpoint}"))
    assert not ran.exists()
    loaded = load(tiny(f"model.name={checkpoint}", "model.trust_remote_code=true"))
    assert type(loaded).__name__ in ("OddForMaskedLM", "OddTokenizer")
    assert ran.exists()


@pytest.mark.parametrize("load", [load_encoder, load_recogniser])
def test_models_that_only_score_never_bring_code(checkpoint, ran, load):
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(checkpoint)
    assert not ran.exists()
