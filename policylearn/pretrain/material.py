"""What a model is trained further on, texts or pictures: the rows, the policy, and what masks by it."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from transformers import PreTrainedModel

from policylearn.arms.arms import given_policy
from policylearn.arms.policies import build_uniform
from policylearn.collator.patch_collator import PatchCollator
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import BENCHMARKS, MaskingConfig
from policylearn.policy.patches import REGION, whole_rate
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.pretrain.rows import PictureRows, TextRows
from policylearn.pretrain.training import devices, in_texts, shares
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.problem import Problem
from policylearn.problems.texts import TextProblem, of_texts
from policylearn.report.printing import print_line
from policylearn.runs.provenance import fingerprint, last_part

Collator = PolicyCollator | PatchCollator


@dataclass(frozen=True)
class Material:
    """What a training is given.

    Attributes:
        of: "texts" or "pictures".
        rows: what it goes through.
        masks: the policy.
        said: whose masks they are, in words.
        share: how much they mask, in words.
        collator: (model, seed, console) → what masks its batches; what is changed in the model is said.
        facts: what the training is known by, besides its settings.
        files: of the checkpoint beside its weights, by name.
        beside: what labels every step sees as well, in words; empty: none.
    """

    of: str
    rows: TextRows | PictureRows
    masks: MaskingPolicy
    said: str
    share: str
    collator: Callable[[PreTrainedModel, int, Console], Collator]
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    beside: str = ""


def material_of(problem: Problem, source: str | None) -> Material:
    """The domain of a problem, under the policy of a place, or random masks, at the rate of [pretrain] if it has one.

    Raises:
        ValueError: there is none, or one that does not go with the model; the rate is above what it allows; labels are
            to be seen, and the task has no head; what is for texts alone is asked of pictures; or a step cannot be
            dealt out.
    """
    found = _pictures(problem, source) if isinstance(problem, PictureProblem) else _texts(of_texts(problem), source)
    shares(in_texts(problem.config.pretrain, found.masks.masking.copies), devices())
    return found


def _texts(problem: TextProblem, source: str | None) -> Material:
    config = problem.config
    masks, said = _masks(problem, source)
    size = config.model.max_length if config.pretrain.packing else None
    facts = {"max_length": config.model.max_length, **_facts(masks, "tokens", problem.domain)}
    beside = check_labels(problem) if config.pretrain.labels else ""
    if beside:
        facts["labelled"] = _digest(problem.labelled("train").rows, problem.labelled("train"))
    return Material(
        "texts",
        TextRows(problem.domain, [scorer_of(name) for name in masks.names], size),
        masks,
        said,
        f"{masks.masking.rate_in_words} of the tokens, by {masks.masking.unit}",
        lambda model, seed, console: PolicyCollator(problem.tokenizer, policy=masks, seed=seed),
        facts,
        beside=beside,
    )


def check_labels(problem: Problem) -> str:
    """That a step can see labels; in words, how many of how many.

    Raises:
        ValueError: the task has no head to be trained, or is made up where the domain is not; or labels cannot be dealt
            out evenly to several processes, or are for several GPUs of one process.
    """
    config, settings = problem.config, problem.config.pretrain
    if (config.task.path in BENCHMARKS) != (config.domain.path in BENCHMARKS):
        raise ValueError(
            f"pretrain.labels would be those of task.path {config.task.path}, beside domain.path {config.domain.path}: "
            "set task.path to labelled texts of yours"
        )
    if problem.kind.readout is None:
        raise ValueError(f"pretrain.labels trains a head, and {problem.kind.name} have none: set it to 0")
    if (taking_part := devices()) > 1 and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            f"pretrain.labels goes with a process for each GPU, and one has {taking_part}: start it by "
            f"torchrun --nproc-per-node {taking_part} -m policylearn pretrain …, or set it to 0"
        )
    if settings.labels % taking_part:
        raise ValueError(
            f"pretrain.labels {settings.labels} cannot be dealt out evenly to {taking_part} processes: "
            "set it to a multiple"
        )
    if settings.labels > (have := len(problem.labelled("train"))):
        raise ValueError(f"pretrain.labels {settings.labels} in every step, and train has {have:,}: set it to fewer")
    return f"{settings.labels} of {have:,} labelled examples of train in every step"


def _pictures(problem: PictureProblem, source: str | None) -> Material:
    if problem.config.pretrain.labels:
        raise ValueError("pretrain.labels is for texts, and the config is one of pictures: set it to 0")
    if problem.config.pretrain.packing:
        raise ValueError("pretrain.packing is for texts, and the config is one of pictures: unset it")
    masks, said = _masks(problem, source)
    problem.tell_of_scale()
    if REGION in map(scorer_of, masks.names):
        raise ValueError(f"{said} go by boxes of pictures, which are not read here: train with PatchCollator")

    def collator(model: PreTrainedModel, seed: int, console: Console) -> PatchCollator:
        _hide_as_many(model, masks, problem.grid.count, console)
        return PatchCollator(model, masks, seed=seed)

    share, facts = f"{masks.masking.rate_in_words} of the patches", _facts(masks, "pixels", problem.domain)
    files = {"preprocessor_config.json": json.dumps(_processor(problem), indent=2) + "\n"}
    return Material("pictures", PictureRows(problem.domain), masks, said, share, collator, facts, files)


def _processor(problem: PictureProblem) -> dict[str, Any]:
    """How pictures become pixels here, as an image processor of transformers has it; their size is not changed."""
    grid, mean, std = problem.grid, problem.config.patches.mean, problem.config.patches.std
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": False,
        "size": {"height": grid.height, "width": grid.width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": mean if isinstance(mean, list) else [mean] * grid.channels,
        "image_std": std if isinstance(std, list) else [std] * grid.channels,
    }


def _masks(problem: Problem, source: str | None) -> tuple[MaskingPolicy, str]:
    """The policy, and whose it is."""
    if source is None:
        masks, said = build_uniform(problem), "random masks (no --policy)"
    else:
        masks, said = given_policy(problem, source), f"the masks of {last_part(source)}"
    if (rate := problem.config.pretrain.rate) is not None:
        try:
            masks.field.masking = MaskingConfig.model_validate(masks.masking.model_dump() | {"rate": rate})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"pretrain.rate {rate}: {reason}") from None
    return masks, said


def _facts(masks: MaskingPolicy, content: str, rows: Any) -> dict[str, Any]:
    # a folder that was begun earlier is known by these words
    return {"rate": masks.masking.rates_in_words, "masks": fingerprint(masks)[:16], content: _digest(rows)}


def _digest(*parts: Any) -> str:
    """Of all their `contents`."""
    digest = sha256()
    for content in chain.from_iterable(part.contents() for part in parts):
        digest.update(content)
    return digest.hexdigest()[:16]


def _hide_as_many(model: PreTrainedModel, masks: MaskingPolicy, patches: int, console: Console) -> None:
    """A ViTMAE removes as many patches as its config says: from now on those of the policy."""
    before = getattr(model.config, "mask_ratio", None)
    hidden = round(patches * float(whole_rate(masks.masking.usual_rate, patches)))
    if before is not None and hidden != patches - int(patches * (1 - before)):
        model.config.mask_ratio = (hidden - 0.5) / patches  # rounded up to the whole number
        print_line(console, f"masks  the model's mask_ratio was {before:g}; from now on it is the policy's")
