"""`policylearn pretrain`: a model trained further under the masks of a policy, into a plain checkpoint."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import Config, MaskingConfig
from policylearn.masking.field import text_field
from policylearn.models.checkpoint import quiet
from policylearn.models.seq2seq import Seq2SeqModel
from policylearn.pictures import problem_of
from policylearn.policy.policy import MaskingPolicy, uniform_policy
from policylearn.policy.scores import scorer_of
from policylearn.pretrain.record import CHECKPOINTS, Record, card
from policylearn.pretrain.rows import Rows
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
    rows = Rows(problem.domain, [scorer_of(name) for name in masks.names], _packed(config))
    made_from = _made_from(problem, masks)
    record = Record.open(out, made_from, fresh) if first else Record(out, made_from)
    if record.result:
        return Pretrained(out, record.result, before=True)
    print_line(console, f"masks  {whose}; {masks.masking.rate_in_words} of the tokens, by {masks.masking.unit}")
    with preemptible():
        trainer = _train(problem, masks, rows, out / CHECKPOINTS, console)
    result = {"steps": trainer.state.global_step, "loss": _last_loss(trainer), "texts": len(problem.domain)}
    result["rows"] = len(rows)
    trainer.save_model(str(out))  # with the tokenizer; of several processes the first writes
    if first:
        base = last_part(config.model.name or f"a {config.model.architecture.get('model_type')} from scratch")
        (out / "README.md").write_text(card(config.name, base, f"under {whose}", made_from | result), encoding="utf-8")
        record.finish(result)
    return Pretrained(out, result)


def policy_of(problem: Problem, source: str | None) -> tuple[MaskingPolicy, str]:
    """The policy of a place, or random masks, with the rate of [pretrain] if it has one; and whose masks they are.

    Raises:
        ValueError: there is none, or one of another tokenizer; or the rate is above what it allows.
    """
    rate = problem.config.pretrain.rate
    if source is None:
        found, whose = uniform_policy(problem.tokenizer, problem.config.masking), "random masks (no --policy)"
    else:
        artefact: PolicyArtefact = load_policy(source)
        artefact.check_tokenizer(problem.tokenizer)
        found, whose = artefact.policy, f"the masks of {last_part(source)}"
    if rate is not None:
        settings = found.masking.model_dump() | {"rate": rate}
        text_field(found.field).masking = MaskingConfig.model_validate(settings)
    return found, whose


def _train(problem: Problem, masks: MaskingPolicy, rows: Rows, folder: Path, console: Console) -> Trainer:
    config = problem.config
    model = problem.fresh_model(config.pretrain.seed)
    if isinstance(model, Seq2SeqModel):
        raise ValueError("pretrain needs a masked language model, and model.name is an encoder–decoder")
    if model.remark:
        print_line(console, model.remark)
    collator = PolicyCollator(problem.tokenizer, policy=masks, seed=config.pretrain.seed)
    trainer = trainer_of(config, model.mlm, problem.tokenizer, collator, rows, folder, console)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last is not None:
        print_line(console, f"goes on from {last}")
    with quiet():
        trainer.train(resume_from_checkpoint=last)
    return trainer


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
    return {**used, **settings, "max_length": config.model.max_length, "rate": masks.masking.rate_in_words} | {
        "masks": fingerprint(masks)[:16],
        "tokens": digest.hexdigest()[:16],
    }
