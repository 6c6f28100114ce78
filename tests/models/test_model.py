import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForMaskedLM

from policylearn.config import InnerConfig, ModelConfig, PolicyConfig
from policylearn.masking import IGNORED
from policylearn.models.heads import vocabulary_logits
from policylearn.models.loading import load_model
from policylearn.models.model import InnerModel, mean_pool
from policylearn.models.picture import load_picture_model
from policylearn.policy.networks import ContextNetwork

COMMON = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
ARCHITECTURES = {
    "bert": COMMON,
    "roberta": COMMON,
    "xlm-roberta": COMMON,
    "camembert": COMMON,
    "mpnet": COMMON,
    "modernbert": COMMON,
    "electra": COMMON | {"embedding_size": 8},
    "deberta": COMMON | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": COMMON | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "pad_token_id": 0},
}
FROM_SCRATCH = ModelConfig()


SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
BERT = {"model_type": "bert", **SMALL}
VIT = {"model_type": "vit", "image_size": 8, "patch_size": 4, "encoder_stride": 4, **SMALL}
BUILT = {
    "bert": lambda: load_model(ModelConfig(architecture=BERT), 50, 0, 3, "eager"),
    "vit": lambda: load_picture_model(ModelConfig(architecture=VIT), 3, "eager"),
    "network": lambda: ContextNetwork.build(PolicyConfig(network="context"), 50, torch.ones(50, 3)),
}


@pytest.mark.parametrize("make", BUILT.values(), ids=BUILT)
def test_who_makes_a_model_leaves_the_generators_as_they_were(make, monkeypatch):
    """Those of GPUs too, which are seeded when they are first used."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    one, other = (dict(make().state_dict()) for _ in range(2))
    assert not seeded and torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)


def build(kind: str):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **ARCHITECTURES[kind])
    mlm = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    for p in mlm.parameters():
        if p.ndim == 1:
            torch.nn.init.normal_(p)  # a bias or norm left out must show
    return mlm


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (3, 9), generator=generator)
    real = torch.ones(3, 9, dtype=torch.bool)
    real[1, 6:] = real[2, 8:] = False
    ids[~real] = 0
    labels = torch.full_like(ids, IGNORED)
    labels[0, 2], labels[0, 7], labels[1, 1], labels[2, 6] = 7, 49, 9, 11
    return ids, real, labels


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_head_on_masked_positions_gives_what_the_whole_model_gives_there(kind, batch):
    ids, real, labels = batch
    mlm, masked = build(kind), labels != IGNORED
    with torch.no_grad():
        expected = mlm(input_ids=ids, attention_mask=real.long()).logits[masked]
        hidden = mlm.base_model(input_ids=ids, attention_mask=real.long()).last_hidden_state
        torch.testing.assert_close(vocabulary_logits(mlm, hidden[masked]), expected, rtol=1e-5, atol=1e-5)
        losses = InnerModel(mlm)(ids, real, labels=labels)
    assert expected.std() > 0.1
    expected_losses = cross_entropy(expected, labels[masked], reduction="none")
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_features_are_the_mean_of_the_last_hidden_states_over_real_tokens(kind, batch):
    ids, real, _ = batch
    mlm = build(kind)
    with torch.no_grad():
        hidden = mlm(input_ids=ids, attention_mask=real.long(), output_hidden_states=True).hidden_states[-1]
        features = InnerModel(mlm)(ids, real)
        alone = InnerModel(mlm)(ids[1:2, :6], real[1:2, :6])
    by_hand = torch.stack([h[r].mean(0) for h, r in zip(hidden, real, strict=True)])
    torch.testing.assert_close(features, by_hand, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alone, features[1:2], rtol=1e-5, atol=1e-5)  # padding changes nothing


def test_mean_pool_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]]])
    real = torch.tensor([[True, True, False]])
    assert mean_pool(hidden, real).tolist() == [[2.0, 4.0]]


def test_single_precision_comes_out_of_bf16_and_double_stays_double(batch):
    ids, real, labels = batch
    half = InnerModel(build("bert"), bf16=True)
    assert half(ids, real).dtype == half(ids, real, labels=labels).dtype == torch.float32
    double = InnerModel(build("bert")).double()
    assert double(ids, real).dtype == double(ids, real, labels=labels).dtype == torch.float64


def test_a_model_from_scratch_follows_its_seed_and_the_vocabulary():
    def weights(seed: int):
        model = load_model(FROM_SCRATCH, 37, 0, seed, attention="eager")
        return torch.cat([p.detach().flatten() for p in model.parameters()]), model

    state = torch.random.get_rng_state()
    (first, model), (again, _), (other, _) = weights(1), weights(1), weights(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())  # the global generator is left alone
    assert model.mlm.config.vocab_size == 37
    assert not any(module.training for module in model.mlm.modules())  # no dropout


@pytest.mark.parametrize(("kind", "choice"), [("bert", "sdpa"), ("deberta-v2", "eager")])
def test_finite_differences_get_the_fastest_attention_a_model_has(kind, choice):
    fields = {"model_type": kind, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    for engine, expected in (("finite_difference", choice), ("replay", "eager")):
        model = load_model(ModelConfig(architecture=fields), 37, 0, 0, InnerConfig(engine=engine).attention)
        assert model.mlm.config._attn_implementation == expected


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "../no/such/model"}, r"model\.name '\.\./no/such/model' does not exist"),
        ({"name": "/no/such/model"}, r"model\.name '/no/such/model' does not exist"),
        ({"architecture": {"hidden_size": 16}}, "model.architecture has no model_type"),
        ({"architecture": {"model_type": "bert", "hidden_act": "gelU"}}, "cannot be built as 'bert': KeyError: 'gelU'"),
        ({"architecture": {"model_type": "bert", "hidden_size": -4}}, "model.architecture cannot be built as 'bert'"),
        ({"architecture": {"model_type": "t5", "feed_forward_proj": "foo"}}, "model.architecture cannot be built as"),
        ({"architecture": {"model_type": "bert", "vocab_size": 10}}, "^model.architecture: 10 token .* or unset a voc"),
        ({"architecture": {"model_type": "bird"}}, "model.architecture has model_type 'bird'"),
        ({"architecture": {"model_type": "gpt2"}}, "model.architecture has model_type 'gpt2'"),
        ({"architecture": {"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}}, "not a multiple"),
        ({"architecture": {"model_type": "bert", "hiden_size": 10}}, "hiden_size: 'bert' has no .* mean 'hidden_size'"),
    ],
)
def test_what_cannot_be_loaded_is_named(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        load_model(ModelConfig(**settings), 30, 0, 0, attention="eager")


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"model\.name .* cannot be loaded as a masked language model"):
        load_model(ModelConfig(name=str(tmp_path)), 30, 0, 0, attention="eager")


def test_a_checkpoint_with_too_small_a_vocabulary(tmp_path):
    build("bert").save_pretrained(tmp_path)
    config = ModelConfig(name=str(tmp_path), max_length=40)
    assert load_model(config, 50, 0, 0, attention="eager").mlm.config.vocab_size == 50
    with pytest.raises(ValueError, match="50 token embeddings, but the tokenizer has 51 tokens"):
        load_model(config, 51, 0, 0, attention="eager")
