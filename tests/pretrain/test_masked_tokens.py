"""The loss of masked tokens from their logits alone, beside a `Trainer` that has all logits."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, Trainer, TrainingArguments

from policylearn.models.heads import HEADS, has_known_head
from policylearn.pretrain.masked_tokens import MaskedTokensTrainer, loss_of

VOCABULARY, ROWS, LENGTH, MASKED = 40, 4, 12, [(0, 1), (0, 5), (2, 3), (3, 11)]
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}


def model_of(kind):
    if kind == "distilbert":
        own = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": VOCABULARY}
    else:
        own = SIZES | ({"embedding_size": 16} if kind == "electra" else {})
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **own)).eval()


@pytest.fixture
def batch():
    ids = torch.randint(5, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    labels = torch.full_like(ids, -100)
    for place in MASKED:
        labels[place] = ids[place]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def gradients(trainer_class, model, batch, folder):
    """Loss and gradients of one part of a step of six masked tokens; and the shapes of logits that were computed."""
    shapes = []

    def seen(outputs, labels, num_items_in_batch=None):
        shapes.append(outputs.logits.shape)
        return loss_of(outputs, labels, num_items_in_batch)

    arguments = TrainingArguments(str(folder), use_cpu=True, report_to="none")
    trainer = trainer_class(model, arguments, compute_loss_func=seen)
    loss = trainer.compute_loss(model, dict(batch), num_items_in_batch=6)
    model.zero_grad()
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, shapes


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_of_every_known_head_loss_and_gradients_are_those_of_all_logits(kind, batch, tmp_path):
    model = model_of(kind)
    loss, found, shapes = gradients(MaskedTokensTrainer, model, batch, tmp_path)
    usual, wanted, whole = gradients(Trainer, model, batch, tmp_path)
    assert shapes == [(len(MASKED), VOCABULARY)] and whole == [(ROWS, LENGTH, VOCABULARY)]
    assert torch.allclose(loss, usual, rtol=1e-5) and found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert torch.allclose(found[name], gradient, atol=1e-6), name
    with torch.no_grad():
        assert model(batch["input_ids"]).logits.shape == (ROWS, LENGTH, VOCABULARY)  # it is as it was


def test_a_head_that_is_not_known_has_all_logits(batch, tmp_path):
    model = model_of("roformer")
    assert not has_known_head(model)
    loss, _, shapes = gradients(MaskedTokensTrainer, model, batch, tmp_path)
    usual, _, _ = gradients(Trainer, model, batch, tmp_path)
    assert shapes == [(ROWS, LENGTH, VOCABULARY)] and loss == usual


def test_where_nothing_is_masked_the_loss_is_zero_and_every_parameter_has_its_gradient(batch, tmp_path):
    batch["labels"].fill_(-100)
    loss, found, _ = gradients(MaskedTokensTrainer, model_of("bert"), batch, tmp_path)
    assert loss == 0 and all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in found.values())


def test_several_gpus_of_one_process_make_the_step_of_one(batch, tmp_path):
    rows = [{name: column[row] for name, column in batch.items()} for row in range(ROWS)]

    def step(gpus):
        """Loss and norm of the gradient as they are told; without GPUs, DataParallel is the module itself."""
        given = {"max_steps": 1, "use_cpu": True, "report_to": "none", "logging_steps": 1, "save_strategy": "no"}
        arguments = TrainingArguments(str(tmp_path), per_device_train_batch_size=ROWS // gpus, **given)
        arguments._n_gpu = gpus
        trainer = MaskedTokensTrainer(model_of("bert"), arguments, train_dataset=rows, compute_loss_func=loss_of)
        trainer.train()
        return [trainer.state.log_history[0][name] for name in ("loss", "grad_norm")]

    assert step(2) == pytest.approx(step(1), rel=1e-3)
