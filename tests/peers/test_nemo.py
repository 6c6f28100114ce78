"""`PolicyCorruption` in front of NeMo AutoModel's `MDLMStrategy`, whose package no index that is used here has. Its
source on PYTHONPATH is all it takes: `git clone https://github.com/NVIDIA-NeMo/Automodel`."""

import inspect

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from policylearn.config import MaskingConfig
from policylearn.policy.policy import uniform_policy
from policylearn.trainers import PolicyCorruption


@pytest.fixture
def model(tokenizer):
    """A tiny BERT that is sure of things, so that losses differ between masks; without dropout."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **shape, **still))


@pytest.fixture(scope="module")
def batch(trained_examples, tokenizer):
    """Rows of different lengths, padded; [CLS] is not trained on, [SEP] is."""
    rows = [row["input_ids"][: 8 + i] for i, row in enumerate(trained_examples[:8])]
    batch = dict(tokenizer.pad({"input_ids": rows}, return_tensors="pt"))
    real = batch["input_ids"] != tokenizer.pad_token_id
    batch["labels"] = batch["input_ids"].masked_fill(~real, -100)
    batch["labels"][:, 0] = -100
    return batch | {"attention_mask": real.long()}


@pytest.fixture
def strategies():
    name = "nemo_automodel.recipes.dllm.strategy"
    return pytest.importorskip(name, exc_type=ImportError, reason="NeMo AutoModel's source is not on the path")


@pytest.fixture
def corrupt(strategies, batch):
    """`corrupt(policy, seed)`: (noisy, mask, p_mask) by the strategy of a policy, None: by theirs."""

    def by(policy, seed, weighting="inclusion"):
        class Strategy(PolicyCorruption, strategies.MDLMStrategy):
            pass

        Strategy.policy, Strategy.weighting = policy, weighting
        strategies.DLLM_STRATEGIES["policy"] = Strategy
        strategy = strategies.get_dllm_strategy("mdlm" if policy is None else "policy")
        settings = {"eps": 1e-3, "block_size": None, "half_life_ratio": None}
        generator = torch.Generator().manual_seed(seed)
        text = batch["input_ids"], (batch["labels"] != -100).long()
        return strategy.apply_corruption(*text, 4, **settings, generator=generator)

    yield by
    strategies.DLLM_STRATEGIES.pop("policy", None)


def test_its_signature_is_what_is_stated(strategies):
    theirs = inspect.signature(strategies.DLLMStrategy.apply_corruption).parameters
    assert list(theirs) == list(inspect.signature(PolicyCorruption.apply_corruption).parameters)


@pytest.mark.parametrize("weighting", ["inclusion", "rate"])
def test_what_it_returns(corrupt, batch, make_policy, weighting):
    noisy, mask, p_mask = corrupt(make_policy("none"), 0, weighting)
    assert torch.equal(noisy, torch.where(mask, 4, batch["input_ids"]))
    assert mask.any(1).all() and not (mask & (batch["labels"] == -100)).any()
    assert p_mask.dtype == torch.float32 and (p_mask > 0).all() and (p_mask <= 1).all()
    assert bool((p_mask == p_mask[:, :1]).all()) == (weighting == "rate")
    again, other = (corrupt(make_policy("none"), seed, weighting)[1] for seed in (0, 1))
    assert torch.equal(mask, again) and not torch.equal(mask, other)


def test_with_the_uniform_policy_the_mean_loss_is_theirs(strategies, corrupt, model, batch, tokenizer):
    policy, draws, trained = uniform_policy(tokenizer, MaskingConfig()), 1500, batch["labels"] != -100
    loss_of, means = strategies.MDLMStrategy().create_loss_fn({}), []
    with torch.no_grad():
        for by in (policy, None):
            losses = []
            for seed in range(draws):
                noisy, mask, p_mask = corrupt(by, seed)
                logits = model.eval()(input_ids=noisy, attention_mask=batch["attention_mask"]).logits
                told = loss_of(
                    logits, batch["input_ids"], mask, p_mask, trained, num_diffusion_tokens=int(trained.sum())
                )
                losses.append(float(told.total_loss))
            means.append((torch.tensor(losses).mean(), torch.tensor(losses).std() / draws**0.5))
    (found, error), (expected, other) = means
    assert abs(found - expected) < 4 * (error**2 + other**2) ** 0.5 < 0.1 * expected
