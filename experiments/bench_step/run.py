"""What compiling a step, and taking many trainings' steps at once, would buy: result.json, the table in README.md.

.venv/bin/python experiments/bench_step/run.py           # some minutes, one thread, CPU time
.venv/bin/python experiments/bench_step/run.py --only credits   # this part anew, the others stay
python experiments/bench_step/run.py --device cuda       # wall time; beside "cpu" in result.json
.venv/bin/python experiments/bench_step/run.py --quick   # a few steps; writes nothing

Both ways of a thing take turns in one process; a figure is the median of all turns.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainingArguments

from policylearn.config import InnerConfig
from policylearn.inner.masked_lm import MaskedLM
from policylearn.inner.steps import make_optimizer, plain_step
from policylearn.inner.window import Window
from policylearn.masking import MaskedBatch
from policylearn.metagrad.finite_difference import best_move
from policylearn.metagrad.one_step import token_derivatives
from policylearn.models.heads import vocabulary_logits
from policylearn.models.model import InnerModel
from policylearn.pretrain.masked_tokens import MaskedTokensTrainer, loss_of
from policylearn.report.write_up import write_up

FOLDER = Path(__file__).parent
ROWS, LENGTH, MASKED, TOGETHER = 16, 32, 5, 8
SHAPES: dict[str, dict[str, int]] = {
    "1 layer of 64": {"vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
    "4 layers of 256": {"vocab_size": 8192, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4},
    "6 layers of 384": {"vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12},
}
TARGETS = {"credits": 2.5, "differences": 2.5}
ERRORS = {
    "off": "largest difference of a stacked gradient",
    "rough": "relative error of credits by two forward passes",
    "rough in bf16": "the same in bf16",
    "forward in bf16": "relative error of the forward mode in bf16",
}
NAMES = {
    "compiled": "a plain step, compiled, to eager",
    "compiling": "seconds that compiling takes, for one length of texts",
    "stacked": f"gradients of {TOGETHER} models at once, to one by one",
    "credits": "credits of a batch, to a forward pass of it",
    "differences": "the same by two forward passes, at θ + hd and θ - hd",
    "pretrained": "a step of `policylearn pretrain`, to one of `Trainer` with the logits of all tokens",
}


def bert(shape: dict[str, int], device: str) -> InnerModel:
    """Random weights, no dropout, attention that has forward-mode derivatives."""
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    width = {"intermediate_size": 4 * shape["hidden_size"], "attn_implementation": "eager"}
    return InnerModel(BertForMaskedLM(BertConfig(**shape, **none, **width)).eval().to(device))


def masked_batch(vocabulary: int) -> MaskedBatch:
    """Random texts without padding, so many tokens of each masked: shapes are the same for all."""
    ids = torch.randint(5, vocabulary, (ROWS, LENGTH))
    places = torch.rand(ROWS, LENGTH).topk(MASKED).indices
    labels = torch.full_like(ids, -100).scatter(1, places, ids.gather(1, places))
    return MaskedBatch(ids.scatter(1, places, 4), ids, torch.ones_like(ids, dtype=torch.bool), labels)


def clock(device: str) -> float:
    """Seconds of the processor; on a GPU, of the wall, when all that was started is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def in_turns(ways: dict[str, Callable[[], Any]], turns: int, device: str) -> dict[str, float]:
    """Median seconds of each, one after the other and again."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 2):
        for name, way in ways.items():
            start = clock(device)
            way()
            if turn >= 2:  # the first are warm-up
                seconds[name].append(clock(device) - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def compiled(shape: dict[str, int], turns: int, device: str) -> dict[str, float]:
    """A plain step as it is, and with the encoder compiled; on a GPU as one graph."""
    mode = "reduce-overhead" if device == "cuda" else "default"
    batch, eager = masked_batch(shape["vocab_size"]), bert(shape, device)
    other = deepcopy(eager)
    other.encoder.compile(dynamic=False, mode=mode)
    models = {"eager": eager, "compiled": other}
    steps = {name: step_of(model, batch) for name, model in models.items()}
    start = time.perf_counter()
    steps["compiled"]()
    took = time.perf_counter() - start
    return in_turns(steps, turns, device) | {"compiling": took}


def step_of(model: InnerModel, batch: MaskedBatch) -> Callable[[], float]:
    optimizer = make_optimizer(model, InnerConfig())
    return lambda: plain_step(model, optimizer, MaskedLM(), batch, 1e-4)


class OfShapes(nn.Module):
    """The loss of a batch whose texts have equally many masked tokens, by tensors alone, as stacking wants it."""

    def __init__(self, model: InnerModel) -> None:
        super().__init__()
        self.mlm = model.mlm

    def forward(self, shown: Tensor, seen: Tensor, places: Tensor, targets: Tensor) -> Tensor:
        hidden = self.mlm.base_model(input_ids=shown, attention_mask=seen).last_hidden_state
        picked = hidden.gather(1, places[:, :, None].expand(-1, -1, hidden.shape[2])).flatten(0, 1)
        return cross_entropy(vocabulary_logits(self.mlm, picked), targets.flatten())


def stacked(shape: dict[str, int], turns: int, device: str) -> dict[str, float]:
    """Gradients of several models on a batch each."""
    models = [OfShapes(bert(shape, device)) for _ in range(TOGETHER)]
    batches = [tensors_of(masked_batch(shape["vocab_size"]), device) for _ in models]
    parameters, buffers = stack_module_state(models)
    together = [torch.stack(parts) for parts in zip(*batches, strict=True)]

    def loss(parameters: Any, buffers: Any, *batch: Tensor) -> Tensor:
        return functional_call(models[0], (parameters, buffers), batch)

    at_once = vmap(grad(loss))

    def one_by_one() -> list[tuple[Tensor, ...]]:
        return [
            torch.autograd.grad(model(*batch), list(model.parameters()), allow_unused=True)
            for model, batch in zip(models, batches, strict=True)
        ]

    found = at_once(parameters, buffers, *together)
    off = max(
        float((found[name][k] - own).abs().max().detach())
        for k, gradients in enumerate(one_by_one())
        for (name, _), own in zip(models[k].named_parameters(), gradients, strict=True)
        if own is not None
    )
    ways = {"one by one": one_by_one, "stacked": lambda: at_once(parameters, buffers, *together)}
    return in_turns(ways, turns, device) | {"off": off}


def tensors_of(batch: MaskedBatch, device: str) -> list[Tensor]:
    places = batch.mask.nonzero()[:, 1].view(ROWS, MASKED)
    seen = torch.zeros(ROWS, 1, LENGTH, LENGTH)  # what is added to the scores of attention
    return [x.to(device) for x in (batch.shown, seen, places, batch.labels.gather(1, places))]


def credits(shape: dict[str, int], turns: int, device: str) -> dict[str, float]:
    """What every masked token of a batch is worth along one direction, beside a forward pass without gradients."""
    model, batch = bert(shape, device), masked_batch(shape["vocab_size"])
    direction = {name: torch.randn_like(p) * p.abs().mean() for name, p in model.named_parameters()}
    exact = token_derivatives(model, direction, batch, MaskedLM())
    moved = exact.numel() * exact.square().mean().sqrt().item()  # nats that a token's loss moves by, per unit of h
    model.requires_grad_(False)
    h = best_move(model) / moved
    ways = {
        "forward": torch.no_grad()(lambda: model(batch.shown, batch.real, labels=batch.labels)),
        "credits": lambda: token_derivatives(model, direction, batch, MaskedLM()),
        "differences": lambda: by_two_passes(model, direction, batch, h),
    }
    seconds = in_turns(ways, turns, device) | {"rough": off(by_two_passes(model, direction, batch, h), exact)}
    model.bf16 = True
    seconds["rough in bf16"] = off(by_two_passes(model, direction, batch, best_move(model) / moved), exact)
    return seconds | {"forward in bf16": off(token_derivatives(model, direction, batch, MaskedLM()), exact)}


def by_two_passes(model: InnerModel, direction: dict[str, Tensor], batch: MaskedBatch, h: float) -> Tensor:
    """d · ∇CE_i / M of the M masked tokens, by the difference of their losses at θ + hd and θ - hd."""
    named, losses = dict(model.named_parameters()), []
    pairs = [named[name].data for name in direction], [*direction.values()]
    for by in (h, -2 * h):
        torch._foreach_add_(*pairs, alpha=by)
        x = MaskedLM().inputs(batch, pairs[0][0]).requires_grad_()
        (part,) = Window([batch], [1.0], MaskedLM()).losses(model, 0, x)
        losses += torch.autograd.grad(part, x)  # by the weight of a token, which is 1: no way back through the model
    torch._foreach_add_(*pairs, alpha=h)
    return (losses[0] - losses[1]) / (2 * h)


def off(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()


def pretrained(shape: dict[str, int], turns: int, device: str) -> dict[str, float]:
    """Loss and gradients of a step of `policylearn pretrain`, and of a `Trainer`, whose head sees all tokens."""
    model, batch = bert(shape, device).mlm, masked_batch(shape["vocab_size"])
    inputs = {"input_ids": batch.shown, "attention_mask": batch.real.long(), "labels": batch.labels}
    ways = {}
    with TemporaryDirectory() as folder:
        settings = TrainingArguments(folder, use_cpu=device == "cpu", report_to="none")
        for kind in (Trainer, MaskedTokensTrainer):
            trainer = kind(model, settings, compute_loss_func=loss_of)
            there = {name: x.to(device) for name, x in inputs.items()}
            ways[kind.__name__] = lambda trainer=trainer, there=there: trainer.compute_loss(model, {**there}).backward()
        return in_turns(ways, turns, device)


def compiled_to_eager(*given: Any) -> dict[str, float]:
    found = compiled(*given)
    return {"compiled": found["compiled"] / found["eager"], "compiling": found["compiling"]}


def stacked_to_one(*given: Any) -> dict[str, float]:
    found = stacked(*given)
    return {"stacked": found["stacked"] / found["one by one"], "off": found["off"]}


def credits_to_forward(*given: Any) -> dict[str, float]:
    found = credits(*given)
    ratios = {name: found[name] / found["forward"] for name in ("credits", "differences")}
    return ratios | {name: found[name] for name in ERRORS if name in found}


def pretrained_to_trainer(*given: Any) -> dict[str, float]:
    found = pretrained(*given)
    return {"pretrained": found["MaskedTokensTrainer"] / found["Trainer"]}


PARTS = {
    "compiled": compiled_to_eager,
    "stacked": stacked_to_one,
    "credits": credits_to_forward,
    "pretrained": pretrained_to_trainer,
}
"""What is measured: ratios, seconds of compiling, and errors."""


def table(result: dict[str, dict[str, dict[str, float]]]) -> Iterator[str]:
    for device, by_shape in result.items():
        yield f"| {device} | {' | '.join(by_shape)} | at most |"
        yield "|---" * (len(by_shape) + 2) + "|"
        known = {key: name for key, name in NAMES.items() if all(key in found for found in by_shape.values())}
        for key, name in known.items():
            cells = [f"{found[key]:.0f}" if key == "compiling" else f"{found[key]:.2f}" for found in by_shape.values()]
            yield f"| {name} | {' | '.join(cells)} | {TARGETS.get(key, '')} |"
        for key, name in ERRORS.items():
            if all(key in found for found in by_shape.values()):
                cells = [f"{found[key]:.0e}" for found in by_shape.values()]
                yield f"| {name} | {' | '.join(cells)} | |"
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    inductor.force_disable_caches = True  # what an earlier run compiled would be found
    found = {}
    for name, shape in SHAPES.items():
        given = (shape, 2 if asked.quick else 20, asked.device)
        found[name] = {key: value for part in asked.only for key, value in PARTS[part](*given).items()}
        print(name, {key: round(value, 9) for key, value in found[name].items()}, flush=True)
        if asked.quick:
            return
    path = FOLDER / "result.json"
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    known = before.get(asked.device, {})
    result = before | {asked.device: {name: known.get(name, {}) | of_shape for name, of_shape in found.items()}}
    write_up(FOLDER, result, list(table(result)))


if __name__ == "__main__":
    main()
