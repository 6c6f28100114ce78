"""Through what the outer gradient may flow, for the architectures there are."""

import pytest
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from policylearn.credit.credits import groups_of
from policylearn.models.model import InnerModel
from policylearn.models.parameters import carriers
from policylearn.models.seq2seq import Seq2SeqModel

SMALL = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
ENDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
ENCODERS = {
    "bert": SMALL,
    "roberta": SMALL | {"pad_token_id": 1},
    "distilbert": {"vocab_size": 30, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16},
    "electra": SMALL | {"embedding_size": 4},
    "modernbert": SMALL | ENDS,
    "deberta-v2": SMALL,
}
TABLES = {
    "bert": {"word_embeddings", "position_embeddings", "token_type_embeddings"},
    "roberta": {"word_embeddings", "position_embeddings", "token_type_embeddings"},
    "distilbert": {"word_embeddings", "position_embeddings"},
    "electra": {"word_embeddings", "position_embeddings", "token_type_embeddings"},
    "modernbert": {"tok_embeddings"},
    "deberta-v2": {"word_embeddings", "position_embeddings"},
    "bart": {"shared", "embed_positions"},
    "t5": {"shared", "relative_attention_bias"},
}


@pytest.fixture(params=[*ENCODERS, "bart", "t5"])
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    if kind == "bart":
        config = BartConfig(vocab_size=30, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32)
        return Seq2SeqModel(BartForConditionalGeneration(config))
    if kind == "t5":
        config = T5Config(
            vocab_size=30, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
        )
        return Seq2SeqModel(T5ForConditionalGeneration(config))
    return InnerModel(AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **ENCODERS[kind])))


def test_layers_are_the_matrices_that_are_no_embeddings(kind, model):
    named = dict(model.named_parameters())
    matrices, layers = carriers(model, "matrices"), carriers(model, "layers")
    assert carriers(model, "all") == set(named)
    assert matrices == {name for name, p in named.items() if p.ndim > 1}
    left_out = {name.split(".")[-2] for name in matrices - layers}
    assert left_out == TABLES[kind]
    sizes = {named[name].shape[0] for name in layers}
    assert 30 not in sizes  # nothing of the vocabulary's size: tied heads are embeddings


def test_a_projection_of_embeddings_is_a_layer():
    config = AutoConfig.for_model("electra", **ENCODERS["electra"])
    model = InnerModel(AutoModelForMaskedLM.from_config(config))
    assert "mlm.electra.embeddings_project.weight" in carriers(model, "layers")


def test_an_output_head_of_its_own_is_a_layer():
    config = AutoConfig.for_model("bert", **SMALL, tie_word_embeddings=False)
    model = InnerModel(AutoModelForMaskedLM.from_config(config))
    assert "mlm.cls.predictions.decoder.weight" in carriers(model, "layers")


def test_groups_are_told_by_what_parameters_are(kind, model):
    groups = groups_of(model)
    assert groups.keys() == dict(model.named_parameters()).keys()
    assert {name.split(".")[-2] for name, group in groups.items() if group == "embeddings"} == TABLES[kind]
    assert ("head" in groups.values()) == (kind not in ("bart", "t5"))
    of_layers = {groups[name] for name in carriers(model, "layers")}
    assert {"attention", "ffn"} <= of_layers <= {"attention", "ffn", "head"}
