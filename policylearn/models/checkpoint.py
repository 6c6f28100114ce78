"""Checkpoints of other people: what is loaded must be what the file holds, and what is random must be said."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging

from policylearn.config.places import not_found

SHOWN = 3
"""Names of weights in a message."""
REASON = 500
"""Characters shown of an error of others, which may go on for pages."""
POLICY_FILES = "manifest.json", "policy.safetensors"
"""Which an exported policy has, and no model."""
UNREAD = "pooler"
"""A part of many encoders that nothing here reads: the last hidden states do not depend on it."""


def check_exists(key: str, name: str, revision: str | None = None) -> None:
    """A name that can only be a path must be there: say so before a Hub look-up hides the mistake.

    Raises:
        ValueError: it looks like a path and does not exist; it is a run, or a policy; or it is a folder, and a revision
            of it is asked for.
    """
    if revision is not None and Path(name).is_dir():
        raise ValueError(f"{key} {name!r} is a folder, which has no revision {revision!r}: unset model.revision")
    if what := _ours(Path(name)):
        instead = "the folder that `policylearn pretrain` wrote"
        if what == "policy" and key == "model.tokenizer":
            instead = f"its tokenizer, {name}/tokenizer"
        raise ValueError(f"{key} {name!r} holds no model: it is a {what} of policylearn; give {instead}")
    looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_like_path and not Path(name).exists():
        raise ValueError(
            f"{key} {name!r} does not exist{not_found(name)}; give a folder with a checkpoint, or a Hub name"
        )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of ours, the config.json of which is of settings and not of a model."""
    try:
        return {"masking", "learn"} <= json.loads((folder / "config.json").read_text(encoding="utf-8")).keys()
    except (OSError, ValueError, AttributeError):  # storage boundary: whoever reads it for good says what is wrong
        return False


def _ours(folder: Path) -> str:
    """What of ours a folder is that is no model; nothing where it is none of ours."""
    has_policy = all((folder / name).is_file() for name in POLICY_FILES)  # a model may have one beside it
    return "run" if is_run(folder) else "policy" if has_policy and not (folder / "config.json").exists() else ""


def load_weights(
    auto: Any, name: str, key: str, what: str, fresh: str | None = None, **settings: Any
) -> tuple[PreTrainedModel, list[str]]:
    """A model with the weights of a checkpoint, and the names of those of its head that the checkpoint lacks: they are
    random.

    The head is what stands on top of the encoder. transformers would start any weight at random that it does not find,
    and print a table; here that is refused, and the table is not shown.

    Args:
        auto: a class of transformers with `from_pretrained`.
        name: path or Hub name.
        key: the setting it comes from, for messages.
        what: the model is to be, for messages: "a masked language model".
        fresh: a part of the encoder that may be random like the head: checkpoints of other uses have none.
        settings: of `from_pretrained`.

    Raises:
        ValueError: the checkpoint cannot be loaded, lacks weights of the encoder, or has some of other shapes or that
            are NaN or infinite.
    """
    try:
        with quiet():
            model, found = auto.from_pretrained(
                name, output_loading_info=True, ignore_mismatched_sizes=True, **settings
            )
    except Exception as error:  # storage boundary: a foreign file fails in any way it likes
        raise ValueError(f"{key} {name!r} cannot be loaded as {what}: {reason(error)}") from error
    if other := sorted(found["mismatched_keys"]):
        raise ValueError(f"{key} {name!r}: {_shapes(other)}: its config.json is of another checkpoint")
    missing = [weight for weight in sorted(found["missing_keys"]) if UNREAD not in weight.split(".")]
    started = [weight for weight in missing if in_head(model, weight) or fresh in weight.split(".")]
    if lost := sorted(set(missing) - set(started)):
        raise ValueError(
            f"{key} {name!r} lacks {len(lost)} of the weights of its encoder, which would be random: {listed(lost)}"
            f"{_wrapped(lost, found['unexpected_keys'])}"
        )
    if broken := not_finite(model):
        raise ValueError(
            f"{key} {name!r} has NaN or infinite weights, {listed(broken)}: it is of a training that failed, or "
            "the file is damaged; take a checkpoint from before"
        )
    return model, started


def not_finite(model: PreTrainedModel) -> list[str]:
    """Names of parameters that are NaN or infinite somewhere."""
    return [name for name, weight in model.named_parameters() if not weight.isfinite().all()]


def in_head(model: PreTrainedModel, weight: str) -> bool:
    """Whether a weight is none of the encoder's."""
    if model.base_model is not model:
        return not weight.startswith(f"{model.base_model_prefix}.")
    return weight.startswith("lm_head.")  # of T5, which has its two halves beside its head


def head_remark(model: PreTrainedModel, missing: list[str]) -> str:
    """What to say of weights of the head that a checkpoint lacks; nothing where it has all.

    >>> from transformers import BertConfig, BertForMaskedLM
    >>> bert = BertForMaskedLM(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9))
    >>> head_remark(bert, ["cls.predictions.bias"])
    'of the MLM head, cls.predictions.bias was not in the checkpoint: it starts from random weights'
    """
    if not missing:
        return ""
    own = {name for name, _ in model.named_parameters() if in_head(model, name)}
    which = "the MLM head" if own <= set(missing) else f"of the MLM head, {listed(missing)}"
    return f"{which} was not in the checkpoint: it starts from random weights"


@contextmanager
def quiet() -> Iterator[None]:
    """Without the tables that transformers prints of what it did not find."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def reason(error: Exception) -> str:
    """An error of others on one line, and not a long one."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= REASON else f"{said[:REASON]}…"


def listed(names: list[str]) -> str:
    """The first few of many names.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shapes(mismatched: list[tuple[str, Any, Any]]) -> str:
    name, has, wanted = mismatched[0]
    more = f" (and {len(mismatched) - 1} more)" if len(mismatched) > 1 else ""
    return f"{name} has the shape {list(has)} and by config.json {list(wanted)}{more}"


def _wrapped(lost: list[str], unexpected: Iterable[str]) -> str:
    """Of weights that are there under longer names, by which: a wrapper was saved with the model in it.

    >>> _wrapped(["bert.a"], ["_orig_mod.bert.a", "_orig_mod.bert.b"])[:77]
    ". The file has them under names that begin with '_orig_mod.': it was saved fr"
    """
    ends = [(name, weight) for name in sorted(unexpected) for weight in lost if name.endswith(f".{weight}")]
    if not ends:
        return ""
    name, weight = ends[0]
    prefix = name.removesuffix(weight)
    return (
        f". The file has them under names that begin with {prefix!r}: it was saved from a wrapped model "
        f"(torch.compile, DataParallel, a trainer's module). Save the model inside, or take {prefix!r} off the names"
    )
