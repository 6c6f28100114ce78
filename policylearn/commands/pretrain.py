"""`policylearn pretrain`: a model trained further under the masks of a policy, into a plain checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from transformers import PreTrainedModel, Trainer, TrainerState
from transformers.trainer import TRAINING_ARGS_NAME

from policylearn.commands.opening import open_problem
from policylearn.config import Config, RateSchedule
from policylearn.evaluation.identity import weights_key
from policylearn.messages.speaker import speaks
from policylearn.models.checkpoint import listed, not_finite, quiet
from policylearn.models.device import slow_bf16
from policylearn.models.model import InnerModel
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.pretrain.labels import HEAD, BesideLabels, LabelledSteps, without_head
from policylearn.pretrain.material import Material, material_of
from policylearn.pretrain.record import CARD, CHECKPOINTS, HASHED, Record, card
from policylearn.pretrain.reports import check_reports, project_told
from policylearn.pretrain.saving import written
from policylearn.pretrain.training import LOWER, Shown, filled_up, trainer_of
from policylearn.problems.problem import Problem
from policylearn.report.printing import new_console, print_line
from policylearn.runs.checkpoints import STATE, last_checkpoint
from policylearn.runs.preemption import preemptible
from policylearn.runs.provenance import last_part, provenance
from policylearn.runs.trackers import check_trackers

AHEAD = "; its rate moves, and in the first batches is a little further on than if it had not been stopped"


@dataclass(frozen=True)
class Pretrained:
    """A model that was trained further.

    Attributes:
        folder: what `AutoModelForMaskedLM.from_pretrained` and `AutoModel.from_pretrained` load.
        result: steps, the mean loss of the last of them, texts and rows.
        length: tokens of a text, the longer ones having been split.
        before: whether an earlier call had finished it.
    """

    folder: Path
    result: dict[str, Any]
    length: int
    before: bool = False

    def lines(self) -> list[str]:
        """What to tell whoever asked for it."""
        loss = "" if self.result["loss"] is None else f", loss {self.result['loss']:.3f} at the end"
        read, pieces = "texts", f" of up to {self.length} tokens"
        if "pictures" in self.result:
            read, pieces = "pictures", ""
        steps = f"{self.result['steps']:,} steps on {self.result[read]:,} {read}{pieces}"
        return [f"model  {self.folder}  ({steps}{loss})"]


def pretrain(config: Config, out: Path, console: Console, policy: str | None = None, fresh: bool = False) -> Pretrained:
    """Train `config.model` further on `config.domain`, as [pretrain] says; goes on from the last checkpoint where an
    earlier call on the same folder stopped. Started by `torchrun` on several processes, all take part.

    Args:
        config: the experiment.
        out: a folder on this machine.
        console: where progress is shown; of several processes only the first shows any.
        policy: an exported policy, as `load_policy` takes it; None: random masks, as `config.masking` has them.
        fresh: forget what `out` holds.

    Raises:
        ValueError: bad input, with what to do; or `out` holds something else.
        FloatingPointError: the loss or weights became NaN or infinite.
        Preempted: on SIGTERM; the last checkpoint is kept.
    """
    check_trackers(config)
    check_reports(config)
    first = speaks()
    if first:  # others might find what the first is just writing
        Record.check_takes(out)
    console = console if first else new_console(quiet=True)
    problem = open_problem(config, console)
    given = material_of(problem, policy)
    model = _model_of(problem)
    made_from = _made_from(config, model) | given.facts
    record = Record.open(out, made_from, fresh) if first else Record.seen(out, made_from, fresh)
    if record.result:
        return Pretrained(out, record.result, config.model.max_length, before=True)
    print_line(console, f"masks  {given.said}; {given.share}")
    if given.beside:
        print_line(console, f"labels  {given.beside}; the loss that is shown is of both")
    with preemptible():
        trainer = _train(problem, model, given, out / CHECKPOINTS, console)
    result = {"steps": trainer.state.global_step, "loss": _last_loss(trainer), given.of: len(problem.domain)}
    result["rows"] = len(given.rows)
    with written(str(out)):
        trainer.save_model(str(out))  # with the tokenizer; of several processes the first writes
    if first:
        (out / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle, with paths of this machine, that no model needs
        base = last_part(config.model.name or f"a {config.model.architecture.get('model_type')} from scratch")
        beside = f", and on {given.beside}" if given.beside else ""
        pictures = type(trainer.model).__name__ if given.of == "pictures" else ""
        told = _told(config, made_from | result | {"bf16": trainer.args.bf16})
        said = card(config.name, base, f"under {given.said}{beside}", told, pictures)
        for name, text in (given.files | {CARD: said}).items():
            (out / name).write_text(text, encoding="utf-8")
        record.finish(result)
    return Pretrained(out, result, config.model.max_length)


def _told(config: Config, facts: dict[str, Any]) -> dict[str, Any]:
    """What a card tells: not what is left to the policy or data, nor how many epochs there would have been, and of a
    hash that it is one."""
    unset = {"epochs"} if config.pretrain.steps is not None else set()
    unset |= {key for key, value in facts.items() if value is None}
    known = {key: value for key, value in facts.items() if key not in unset}
    return {f"{key} (a hash of them)" if key in HASHED else key: value for key, value in known.items()}


def _model_of(problem: Problem) -> InnerModel:
    model = problem.fresh_model(problem.config.pretrain.seed)
    if isinstance(model, Seq2SeqModel):
        raise ValueError(
            "pretrain needs a masked language model, and the config has an encoder–decoder: set model.name or "
            "model.architecture to an encoder"
        )
    return model


def _train(problem: Problem, model: InnerModel, given: Material, folder: Path, console: Console) -> Trainer:
    config = problem.config
    if model.remark:
        print_line(console, model.remark)
    if config.pretrain.bf16 and not torch.cuda.is_available() and (slow := slow_bf16("pretrain.bf16")):
        print_line(console, f"model  {slow}")
    collator = given.collator(model.mlm, config.pretrain.seed, console)
    trainer = trainer_of(config, model.mlm, problem.own_tokenizer, collator, given.rows, folder)
    if isinstance(trainer, BesideLabels):
        model.bf16 = trainer.args.bf16
        trainer.labels = LabelledSteps(problem, model, config.pretrain)
    if repeated := filled_up(trainer.args, len(given.rows)):
        print_line(console, repeated)
    last = last_checkpoint(folder)
    if last is not None:
        moves = isinstance(given.masks.masking.rate, RateSchedule)
        print_line(console, f"goes on from {last[1]}" + (AHEAD if moves else ""))
    with quiet(), project_told(config), Shown(console) as shown:
        trainer.add_callback(shown)
        _go_on(trainer, last)
    if isinstance(trainer, BesideLabels):
        without_head(model.mlm)
    if broken := not_finite(model.mlm):
        raise FloatingPointError(f"weights became NaN or infinite, {listed(broken)}: {LOWER}")
    return trainer


def _go_on(trainer: Trainer, last: tuple[int, Path] | None) -> None:
    """From the last checkpoint; after that of the last step nothing is left to do, and `Trainer` would do one more."""
    if last is None:
        trainer.train()
        return
    steps, place = last
    take_weights(cast(PreTrainedModel, trainer.model), str(place))
    if steps < trainer.args.max_steps:
        trainer.train(resume_from_checkpoint=str(place))
    else:
        trainer.state = TrainerState.load_from_json(str(place / STATE))


def take_weights(model: PreTrainedModel, checkpoint: str) -> None:
    """Those of a checkpoint, under whatever names it has them: `Trainer` goes by names alone and passes over, without a
    word, what a model is saved with under others (ViT, ESM, GTE and more in transformers 5.23). A head of ours it knows
    by its name."""
    kept = type(model).from_pretrained(checkpoint, dtype=model.dtype).state_dict()
    missing, unknown = model.load_state_dict(kept, strict=False)
    assert not unknown and all(name.startswith(HEAD) for name in missing), (missing, unknown)


def _last_loss(trainer: Trainer) -> float | None:
    return next((line["loss"] for line in reversed(trainer.state.log_history) if "loss" in line), None)


def _made_from(config: Config, model: InnerModel) -> dict[str, Any]:
    """What the training is known by, and its card tells, besides what it is given: of a model its name says little."""
    settings = config.pretrain
    known, unused = {"model", "domain", "revision"}, {"save_every", "loaders", "micro_batch"}
    if settings.labels:
        known |= {"task"}
    else:
        unused |= {"labels", "mlm_weight"}  # which trainings from before there were labels do not have
    used: dict[str, Any] = {key: value for key, value in provenance(config).items() if key in known}
    if config.model.name is None:
        used["architecture"] = config.model.architecture
    return used | settings.model_dump(mode="json", exclude=unused) | {"weights": weights_key(model)[:16]}
