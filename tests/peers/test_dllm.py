"""`PolicyMDLM` in front of dllm's `MDLMTrainer`. dllm is not on PyPI and pins transformers 4.57, where policylearn
asks for 5: in dllm's environment, with policylearn on PYTHONPATH, run

    python -m pytest --noconftest tests/peers/test_dllm.py

Nothing here needs the fixtures of others, and of policylearn only what 4.57 can import.
"""

import inspect

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

pytest.importorskip("dllm.core.trainers", exc_type=ImportError, reason="this is not dllm's environment")
from dllm.core import trainers

from policylearn.config import MaskingConfig, PlantedConfig, PolicyConfig
from policylearn.data.planted import domain_corpus, planted_tokenizer
from policylearn.masking import TextField, vocabulary
from policylearn.policy.diffusion import diffuse
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.policy.scores import Scores
from policylearn.trainers import PolicyMDLM

WORDS = PlantedConfig(class_words=5, distractor_words=6, generic_words=30, documents=32, length=20)


class Trainer(PolicyMDLM, trainers.MDLMTrainer):
    pass


@pytest.fixture(scope="module")
def tokenizer():
    return planted_tokenizer(WORDS)


@pytest.fixture(scope="module")
def texts(tokenizer):
    return [{"input_ids": ids, "labels": ids} for ids in tokenizer(domain_corpus(WORDS))["input_ids"]]


@pytest.fixture(scope="module")
def policy(tokenizer):
    """One that likes some tokens far better than others."""
    scores = Scores(torch.randn(len(tokenizer), generator=torch.Generator().manual_seed(0)))
    field = TextField(vocabulary(tokenizer), MaskingConfig())
    nothing = torch.zeros(0, dtype=torch.int64)
    config = PolicyConfig(prior={"difference": 1.5}, network="none")
    return MaskingPolicy(config, {"difference": scores}, nothing, torch.zeros(0, 0), field)


@pytest.fixture
def model(tokenizer):
    """A tiny BERT that is sure of things, so that losses differ between masks; without dropout."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.5}
    return BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **shape, **still))


@pytest.fixture(scope="module")
def batch(texts, tokenizer):
    """Rows of different lengths, padded; [CLS] is not trained on, [SEP] is."""
    rows = [row["input_ids"][: 8 + i] for i, row in enumerate(texts[:8])]
    batch = dict(tokenizer.pad({"input_ids": rows}, return_tensors="pt"))
    real = batch["input_ids"] != tokenizer.pad_token_id
    batch["labels"] = batch["input_ids"].masked_fill(~real, -100)
    batch["labels"][:, 0] = -100
    return batch | {"attention_mask": real.long()}


@pytest.fixture
def made(model, tokenizer, texts, tmp_path):
    """`made(policy, …)`: a trainer with it; `made()`: dllm's own."""

    def make(policy=None, loss_norm_type="token", **settings):
        own = {"loss_norm_type": loss_norm_type, "report_to": "none", "use_cpu": True, "eval_strategy": "no"}
        args = trainers.MDLMConfig(str(tmp_path), max_steps=6, logging_steps=1, per_device_train_batch_size=8, **own)
        common = {"model": model, "args": args, "train_dataset": texts, "processing_class": tokenizer}
        return trainers.MDLMTrainer(**common) if policy is None else Trainer(**common, policy=policy, **settings)

    return make


def test_its_signature_is_what_is_stated():
    theirs = inspect.signature(trainers.MDLMTrainer.compute_loss).parameters
    assert list(theirs) == list(inspect.signature(PolicyMDLM.compute_loss).parameters)


@pytest.mark.parametrize("complement", [False, True])
@pytest.mark.parametrize("norm", ["token", "sequence", "batch"])
def test_with_the_uniform_policy_the_mean_loss_is_theirs(made, model, batch, tokenizer, norm, complement):
    """Bernoulli masks at rates from [ε, 1], and masks of every size: two estimates of one bound."""
    ours = made(uniform_policy(tokenizer), norm, complement=complement)
    theirs, draws = made(loss_norm_type=norm), 1500
    model.train()
    means = []
    with torch.no_grad():
        for trainer in (ours, theirs):
            losses = []
            for step in range(draws):
                trainer.state.global_step = step
                losses.append(float(trainer.compute_loss(model, batch)))
            means.append((torch.tensor(losses).mean(), torch.tensor(losses).std() / draws**0.5))
    (found, error), (expected, other) = means
    assert abs(found - expected) < 4 * (error**2 + other**2) ** 0.5 < 0.1 * expected


def test_a_policy_masks_what_it_likes(made, model, batch, policy):
    seen = []
    model.register_forward_pre_hook(lambda module, args, given: seen.append(given["input_ids"]), with_kwargs=True)
    trainer = made(policy, floor=0.0)
    model.train()
    for step in range(50):
        trainer.state.global_step = step
        trainer.compute_loss(model, batch)
        trained = batch["labels"] != -100
        hidden = diffuse(policy, batch["input_ids"], trained, trainer.args.seed, step, ends=True)
        assert torch.equal(seen[-1], hidden.show(batch["input_ids"], 4))
        assert not (seen[-1] == 4)[~trained].any()


def test_evaluation_is_theirs(made, model, batch, policy):
    losses = []
    for trainer in (made(policy), made()):
        model.eval()
        torch.manual_seed(3)
        losses.append(float(trainer.compute_loss(model, batch)))
    assert losses[0] == losses[1]


def test_it_trains(made, model, policy):
    before = [p.clone() for p in model.parameters()]
    made(policy, complement=True).train()
    assert all(p.isfinite().all() for p in model.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before, model.parameters(), strict=True))
