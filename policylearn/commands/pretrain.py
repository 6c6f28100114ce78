"""`policylearn pretrain`: a model trained further under the masks of a policy, into a plain checkpoint."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import get_last_checkpoint

from policylearn.arms.arms import check_fits
from policylearn.arms.policies import build_uniform
from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.collator.patch_collator import PatchCollator
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import Config, MaskingConfig
from policylearn.models.checkpoint import quiet
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.pictures import PictureProblem, problem_of
from policylearn.policy.patches import REGION, whole_rate
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.policy.scores import scorer_of
from policylearn.pretrain.record import CHECKPOINTS, Record, card
from policylearn.pretrain.rows import PictureRows, Rows
from policylearn.pretrain.training import trainer_of
from policylearn.problem import Problem
from policylearn.report.console import print_line, teller
from policylearn.report.console_watch import ConsoleWatch
from policylearn.runs.preemption import preemptible
from policylearn.runs.provenance import fingerprint, last_part, provenance
from policylearn.runs.trackers import check_trackers


@dataclass(frozen=True)
class Pretrained:
    """A model that was trained further.

    Attributes:
        folder: what `AutoModelForMaskedLM.from_pretrained` and `AutoModel.from_pretrained` load.
        result: steps, the mean loss of the last of them, texts and rows.
        before: whether an earlier call had finished it.
    """

    folder: Path
    result: dict[str, Any]
    before: bool = False


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
        Preempted: on SIGTERM; the last checkpoint is kept.
    """
    check_trackers(config)
    first = int(os.environ.get("RANK") or 0) == 0
    console = console if first else Console(quiet=True)
    problem = problem_of(config, ConsoleWatch(console), tell=teller(console))
    masks, whose = policy_of(problem, policy)
    rows = rows_of(problem, masks)
    made_from = _made_from(problem, masks)
    record = Record.open(out, made_from, fresh) if first else Record(out, made_from)
    if record.result:
        return Pretrained(out, record.result, before=True)
    what = "patches" if isinstance(problem, PictureProblem) else f"tokens, by {masks.masking.unit}"
    print_line(console, f"masks  {whose}; {masks.masking.rate_in_words} of the {what}")
    with preemptible():
        trainer = _train(problem, masks, rows, out / CHECKPOINTS, console)
    read = "pictures" if isinstance(problem, PictureProblem) else "texts"
    result = {"steps": trainer.state.global_step, "loss": _last_loss(trainer), read: len(problem.domain)}
    result["rows"] = len(rows)
    trainer.save_model(str(out))  # with the tokenizer; of several processes the first writes
    if first:
        base = last_part(config.model.name or f"a {config.model.architecture.get('model_type')} from scratch")
        classes = type(trainer.model).__name__ if isinstance(problem, PictureProblem) else ""
        facts = made_from | result
        (out / "README.md").write_text(card(config.name, base, f"under {whose}", facts, classes), encoding="utf-8")
        record.finish(result)
    return Pretrained(out, result)


def policy_of(problem: Problem, source: str | None) -> tuple[MaskingPolicy, str]:
    """The policy of a place, or random masks, with the rate of [pretrain] if it has one; and whose masks they are.

    Raises:
        ValueError: there is none, or one of another tokenizer; or the rate is above what it allows.
    """
    rate, pictures = problem.config.pretrain.rate, isinstance(problem, PictureProblem)
    if source is None:
        masking, whose = problem.config.masking, "random masks (no --policy)"
        found = build_uniform(problem) if pictures else uniform_policy(problem.tokenizer, masking)
    else:
        artefact: PolicyArtefact = load_policy(source)
        check_fits(problem, artefact)
        found, whose = artefact.policy, f"the masks of {last_part(source)}"
    if pictures and REGION in map(scorer_of, found.names):
        raise ValueError(f"{whose} go by boxes of pictures, which are not read here: train with PatchCollator")
    if rate is not None:
        settings = found.masking.model_dump() | {"rate": rate}
        found.field.masking = MaskingConfig.model_validate(settings)
    return found, whose


def rows_of(problem: Problem, masks: MaskingPolicy) -> Rows | PictureRows:
    """What the training goes through. ValueError: pictures are packed."""
    if not isinstance(problem, PictureProblem):
        return Rows(problem.domain, [scorer_of(name) for name in masks.names], _packed(problem.config))
    if problem.config.pretrain.packing:
        raise ValueError("pretrain.packing is for texts, and the config is one of pictures: unset it")
    return PictureRows(problem.domain)


def _train(problem: Problem, masks: MaskingPolicy, rows: Rows | PictureRows, folder: Path, console: Console) -> Trainer:
    config = problem.config
    model = problem.fresh_model(config.pretrain.seed)
    if isinstance(model, Seq2SeqModel):
        raise ValueError("pretrain needs a masked language model, and model.name is an encoder–decoder")
    if model.remark:
        print_line(console, model.remark)
    collator = _collator(problem, masks, model.mlm, console)
    trainer = trainer_of(config, model.mlm, problem.own_tokenizer, collator, rows, folder, console)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last is not None:
        print_line(console, f"goes on from {last}")
        take_weights(model.mlm, last)
    with quiet():
        trainer.train(resume_from_checkpoint=last)
    return trainer


def take_weights(model: PreTrainedModel, checkpoint: str) -> None:
    """Those of a checkpoint, under whatever names it has them: `Trainer` goes by names alone and passes over, without a
    word, what a model is saved with under others (ViT, ESM, GTE and more in transformers 5.23)."""
    model.load_state_dict(type(model).from_pretrained(checkpoint, dtype=model.dtype).state_dict())


def _collator(
    problem: Problem, masks: MaskingPolicy, model: PreTrainedModel, console: Console
) -> PolicyCollator | PatchCollator:
    seed = problem.config.pretrain.seed
    if not isinstance(problem, PictureProblem):
        return PolicyCollator(problem.tokenizer, policy=masks, seed=seed)
    if (before := getattr(model.config, "mask_ratio", None)) is not None:  # a ViTMAE hides as many as it is told to
        patches = problem.grid.count
        hidden = round(patches * float(whole_rate(masks.masking.usual_rate, patches)))
        if hidden != patches - int(patches * (1 - before)):
            model.config.mask_ratio = (hidden - 0.5) / patches  # rounded up to the whole number
            print_line(console, f"masks  the model's mask_ratio was {before:g}; from now on it is the policy's")
    return PatchCollator(model, masks, seed=seed)


def _packed(config: Config) -> int | None:
    return config.model.max_length if config.pretrain.packing else None


def _last_loss(trainer: Trainer) -> float | None:
    return next((line["loss"] for line in reversed(trainer.state.log_history) if "loss" in line), None)


def _made_from(problem: Problem, masks: MaskingPolicy) -> dict[str, Any]:
    """What the training is known by, and its card tells."""
    config = problem.config
    used = {key: value for key, value in provenance(config).items() if key in ("model", "domain", "revision")}
    digest = sha256()
    for part in problem.domain.contents():
        digest.update(part)
    settings = config.pretrain.model_dump(mode="json", exclude={"save_every", "loaders", "micro_batch"})
    pictures = isinstance(problem, PictureProblem)
    size = {} if pictures else {"max_length": config.model.max_length}
    return {**used, **settings, **size, "rate": masks.masking.rate_in_words} | {
        "masks": fingerprint(masks)[:16],
        "pixels" if pictures else "tokens": digest.hexdigest()[:16],
    }
