"""What a stranger's checkpoint lacks is refused, or said; never random without a word."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    GPT2Config,
    T5Config,
    T5ForConditionalGeneration,
)

from policylearn.artefact import save_policy
from policylearn.config import Config, ModelConfig, resolved_json
from policylearn.models.loading import check_goes_with, load_model
from policylearn.models.tokenizer import load_tokenizer
from policylearn.scores.tagged import load_recogniser
from policylearn.scores.vectors import load_encoder

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SIZE = 50
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}


@pytest.fixture
def save(tmp_path, tokenizer):
    """`save(kind, change)`: a checkpoint of so few weights, its dict of tensors changed by `change`."""

    def write(kind="bert", change=lambda weights: weights, auto=AutoModelForMaskedLM, **fields):
        torch.manual_seed(1)
        config = AutoConfig.for_model(kind, vocab_size=max(SIZE, len(tokenizer)), **(SHAPE | fields))
        auto.from_config(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        file = tmp_path / "model.safetensors"
        weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
        save_file(change(weights), file, metadata={"format": "pt"})
        return str(tmp_path)

    return write


def load(folder):
    return load_model(ModelConfig(name=folder), SIZE, 0, seed=0, attention=None)


def renamed(prefix):
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def without(part):
    return lambda weights: {name: tensor for name, tensor in weights.items() if part not in name}


def test_a_home_that_no_shell_has_written_out_is_said(save, monkeypatch):
    place = Path(save())
    monkeypatch.setenv("HOME", str(place.parent))
    with pytest.raises(ValueError, match=rf"~ is for the shell to write out, which it does not behind '=': {place};"):
        load(f"~/{place.name}")


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "model."])
def test_a_checkpoint_of_a_wrapped_model_is_refused_and_the_prefix_named(save, prefix):
    with pytest.raises(ValueError, match=r"lacks 21 of the weights of its encoder") as error:
        load(save(change=renamed(prefix)))
    said = str(error.value)
    assert "bert.embeddings.LayerNorm.bias" in said
    assert f"names that begin with '{prefix}'" in said
    assert len(said) < 700


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "modernbert"])
def test_one_weight_of_the_encoder_that_is_missing_is_named(save, kind):
    lost = []

    def lose_one(weights):
        lost.append(next(name for name in sorted(weights) if ".layers.0." in name or ".layer.0." in name))
        return without(lost[0])(weights)

    with pytest.raises(ValueError, match="lacks 1 of the weights of its encoder") as error:
        load(save(kind, lose_one, pad_token_id=0))
    assert lost[0] in str(error.value)


@pytest.mark.parametrize(("kind", "head"), [("bert", "cls."), ("roberta", "lm_head."), ("distilbert", "vocab_")])
def test_a_head_that_is_missing_is_said_and_follows_the_seed(save, kind, head):
    folder = save(kind, without(head), pad_token_id=0)
    model, again = load(folder), load(folder)
    assert model.remark.endswith(": the MLM head was not in the checkpoint: it starts from random weights")
    for name, p in model.named_parameters():
        assert torch.equal(p, dict(again.named_parameters())[name])


def test_an_encoder_saved_by_itself_is_one_without_a_head(save):
    def alone(weights):
        return {name.removeprefix("bert."): tensor for name, tensor in weights.items() if name.startswith("bert.")}

    folder = save(change=alone)
    weights = load_file(f"{folder}/model.safetensors")
    model = load(folder)
    assert "the MLM head was not in the checkpoint" in model.remark
    assert torch.equal(model.mlm.get_input_embeddings().weight, weights["embeddings.word_embeddings.weight"])


def test_a_part_of_the_head_is_named(save):
    assert "of the MLM head, cls.predictions.bias" in load(save(change=without("cls.predictions.bias"))).remark


def test_of_a_whole_checkpoint_nothing_is_said(save):
    assert load(save()).remark == ""


def test_weights_of_another_shape_are_refused(save):
    with pytest.raises(ValueError, match=r"word_embeddings\.weight has the shape \[40, 16\] and by config\.json \[51"):
        load(save(change=lambda w: {n: t[:40].clone() if "word_emb" in n else t for n, t in w.items()}))


def test_weights_that_are_no_numbers_are_refused(save):
    with pytest.raises(ValueError, match=r"has NaN or infinite weights, bert\.embeddings\.LayerNorm\.bias: it is of"):
        load(save(change=lambda w: w | {"bert.embeddings.LayerNorm.bias": torch.full((16,), torch.inf)}))


def test_a_model_of_another_kind_is_refused_and_those_that_are_known_named(tmp_path, tokenizer):
    GPT2Config(n_embd=8, n_layer=1, n_head=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.name .* as a masked language model \(BERT, .*Unrecognized") as error:
        check_goes_with(ModelConfig(name=str(tmp_path)), tokenizer)
    assert len(str(error.value)) < 900


def test_a_run_is_no_model(tmp_path, tokenizer):
    (tmp_path / "config.json").write_text(resolved_json(Config()))
    with pytest.raises(ValueError, match=r"holds no model: it is a run of policylearn; give the folder that"):
        load(str(tmp_path))
    with pytest.raises(ValueError, match=r"holds no model: it is a run of policylearn"):
        load_tokenizer(ModelConfig(name=str(tmp_path)))


def test_a_policy_is_no_model(tmp_path, make_artefact):
    save_policy(tmp_path, make_artefact(), "")
    with pytest.raises(ValueError, match=r"holds no model: it is a policy of policylearn; give the folder that"):
        load(str(tmp_path))
    tokenizer = ModelConfig(tokenizer=str(tmp_path), architecture={"model_type": "bert"})
    with pytest.raises(ValueError, match=rf"model\.tokenizer .*is a policy .*give its tokenizer, {tmp_path}/tokenizer"):
        load_tokenizer(tokenizer)
    load_tokenizer(tokenizer.model_copy(update={"tokenizer": f"{tmp_path}/tokenizer"}))


def test_a_model_may_have_a_policy_beside_it(save, make_artefact):
    save_policy(folder := save(), make_artefact(), "")
    load(folder)


def test_a_damaged_file_is_one_line(save, tmp_path):
    folder = save()
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"model\.name .* cannot be loaded as a masked language model: "):
        load(folder)


def test_encoder_decoders_are_of_this_kind(save, tmp_path):
    fields = {**BART, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    with pytest.raises(ValueError, match=r"encoder_attn|decoder"):
        load(save("bart", without("decoder.layers"), AutoModelForSeq2SeqLM, **fields))
    small = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(vocab_size=SIZE, **small, tie_word_embeddings=False, pad_token_id=0, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert load(str(tmp_path)).remark == ""  # its head is its embeddings, and not in the file twice


def test_the_table_of_transformers_is_not_shown(save, caplog, capfd):
    folder = save(change=without("cls."))
    logging.getLogger("transformers").propagate = True
    load(folder)
    assert "LOAD REPORT" not in caplog.text + "".join(capfd.readouterr())


def test_scoring_models_are_of_this_kind(save):
    with pytest.raises(
        ValueError, match=r"scores\.difference\.embedding_model .* lacks .* of the weights of its encoder"
    ):
        load_encoder(save(change=renamed("module.")))
    assert load_encoder(save())[0].config.model_type == "bert"  # of a masked language model, which has no pooler
    with pytest.raises(ValueError, match=r"scores\.entity\.model .* is not a token classifier: it lacks classifier"):
        load_recogniser(save(id2label={0: "O", 1: "B"}))
    tagger = save(auto=AutoModelForTokenClassification, id2label={0: "O", 1: "B"})
    assert load_recogniser(tagger).model.config.id2label[0] == "O"
