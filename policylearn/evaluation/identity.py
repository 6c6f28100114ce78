"""What the outcome of a trial depends on, as one key. A trial that is kept under its key is never run again, and one of
other data, settings, masks or parts of others does not pass for it. Where it was run is no part of the key, though
another device or number of threads changes its last bits."""

import hashlib
import json
from typing import Any

import torch
from safetensors.torch import save

from policylearn.arms.course import USUAL, Course, number_of_best
from policylearn.config import Config, MaskingConfig, RateSchedule, TaskConfig, parts_of
from policylearn.config.masking import texts_of
from policylearn.config.scores import scorer_of
from policylearn.data.columns import columns_apart
from policylearn.masking.field import text_field
from policylearn.masking.lengths import split_long_words
from policylearn.models.model import InnerModel
from policylearn.policy.policy import MaskingPolicy
from policylearn.problems.problem import Data, Problem
from policylearn.protocols import Rows
from policylearn.registry.known import METRICS, brought
from policylearn.runs.code import NOW, code_hash, code_of_parts
from policylearn.runs.provenance import fingerprint

VERSION = 2
"""Of what `run_trial` does: raised when it changes what a trial comes to."""
CHUNK = 256
"""Texts that are looked through at once."""
_NOT_OF_A_TRIAL = {
    "evaluate": {"arms", "custom", "seeds", "first_seed"},
    "model": {"name", "tokenizer", "revision", "trust_remote_code"},
}
OF_A_TRIAL = ("kinds", "metrics", "objectives", "adaptations")
"""Of parts of others, which kinds all trials of a comparison share: the code of these is in their key."""
_OF_LABELS = ("classification", "regression", "questions")
"""Kinds of task that labels and metric tell apart; of any other the name is part of the key."""


def trial_key(evidence: str, masks: str, seed: int) -> str:
    """The key of one arm on one seed; the name of the arm is no part of it.

    Args:
        evidence: of `evidence_key`.
        masks: of `masks_key`, the arm's.
        seed: of the trial.
    """
    return _sha256(f"{evidence} {masks} {seed}".encode())


def masks_key(policy: MaskingPolicy | None, domain: Rows, course: Course = USUAL, config: Config | None = None) -> str:
    """What decides the masks of an arm; None: no further training. `course` is the rest of its training, and of
    `config` are the settings by which masks go that follow the credits of the moment, those of joint tuning, and which
    numbers that texts bring are of this arm and not of all."""
    if policy is None:
        return "none" + (_tuned(config, config.masking) if config is not None else "")
    units = " short units" if _masked_otherwise_before(policy, domain) else ""
    network = [code_hash(*part) for part in brought({"networks": [policy.config.network]}).values()]
    by = {"outer": config.outer, "credit": config.credit} if config is not None and course.live else {}
    live = [f"{name} {settings.model_dump_json()}" for name, settings in by.items()]
    tuned = _tuned(config, policy.masking) if config is not None else ""
    brought_along = _brought_along(policy, domain, config) if config is not None else ""
    epochs = (
        " own epochs" if config is not None and _drawn_otherwise_before(policy, len(domain), course, config) else ""
    )
    return " ".join([fingerprint(policy) + units, *network, *live]) + course.key + tuned + epochs + brought_along


def _brought_along(policy: MaskingPolicy, domain: Rows, config: Config) -> str:
    """Columns of the domain that it goes by, but for those that `evidence_key` knows."""
    columns, read = columns_apart(domain, config)[1], set(map(scorer_of, policy.names))
    return "".join(f" {name} {_sha256(values.tobytes())}" for name, values in columns.items() if name in read)


def _tuned(config: Config, masking: MaskingConfig) -> str:
    """Trials in which joint tuning had the first rate of a schedule are not those in which it has the last."""
    joint = "joint" in {parts_of(method)[0] for method in config.evaluate.downstream}
    return " tuned at the last rate" if joint and isinstance(masking.rate, RateSchedule) else ""


def _drawn_otherwise_before(policy: MaskingPolicy, texts: int, course: Course, config: Config) -> bool:
    """Whether a batch straddles two epochs, of which trials from before every text was masked by the draw of its own
    took the later for all of it; but for masks that share a draw, and where a text may be in a batch twice."""
    size, texts = texts_of(config.inner.batch_size, policy.masking.copies), number_of_best(course.texts, texts)
    steps = config.evaluate.steps or config.inner.steps
    straddles = size < texts < steps * size and texts % size > 0
    return straddles and policy.masking.design != "explore" and course.mlm_weight > 0


def _masked_otherwise_before(policy: MaskingPolicy, domain: Rows) -> bool:
    """Whether trials from before units had a longest length (see `masking.lengths`) may have come out otherwise: not of
    tokens, nor of words that are all as likely, none of which is cut."""
    if policy.masking.unit == "token":
        return False
    if policy.masking.unit != "word" or policy.names or policy.network is not None:
        return True
    rate = min(policy.masking.rates)
    for first in range(0, len(domain), CHUNK):
        ids, real = domain.batch(range(first, min(first + CHUNK, len(domain))), pad_id=0)
        starts = text_field(policy.field).word_starts(ids, real)
        if not torch.equal(split_long_words(starts, policy.eligible(ids, real), rate), starts):
            return True
    return False


def evidence_key(problem: Problem, way: int = NOW) -> str:
    """The key of what all trials of a comparison share: settings, data, θ₀, and how metric, kind of task, objective and
    adaptations of others are written, in a `way` of `runs.code`; by content and not by where they lie."""
    code, model = code_of_parts(problem.config, OF_A_TRIAL, way=way), problem.fresh_model(0)
    settings = _settings(problem.config, problem.task)
    if model.mlm.config.model_type == "beit":
        settings["told"] = "words of the config"  # once, they were those of the policy
    parts = [str(VERSION), json.dumps(settings), weights_key(model), _data(problem.data(), problem.config)]
    return _sha256(" ".join([*parts, *code.values()]).encode())


def weights_key(model: InnerModel) -> str:
    """The key of the weights of a model, wherever they came from."""
    return _sha256(save({name: p.detach().contiguous() for name, p in model.named_parameters()}))  # tied ones once


def _settings(config: Config, task: TaskConfig) -> dict[str, Any]:
    found: dict[str, Any] = {"metric": task.metric, "amlm_every": config.scores.amlm.every}
    for name in ("inner", "evaluate", "model"):
        found[name] = getattr(config, name).model_dump(mode="json", exclude=_NOT_OF_A_TRIAL.get(name))
    methods = {parts_of(method)[0] for method in config.evaluate.downstream}
    for later in {"weight_mask", "joint"} - methods:
        del found["evaluate"][later]  # trials from before there was such a section are known again
    for tuning in found["evaluate"].values():
        if isinstance(tuning, dict) and tuning.get("head") == "ridge":
            del tuning["head"]  # of trials from before there was a choice
    if config.inner.objective == "masked_lm":
        del found["inner"]["objective"]  # and so are those from before there was a choice
    if task.kind not in _OF_LABELS:
        found["kind"] = task.kind
    if f"multilabel.{task.metric}" in METRICS.names() and task.kind == "multilabel":
        found["metric_of"] = "decisions"  # once it was given logits
    if task.metric == "exact_match":
        found["metric_of"] = "answers as given back"  # once, as spelt alone, and written by a checkpoint's own settings
    if "joint" in methods or config.patches.words:
        # A model that no policy has trained is tuned, and held-out pictures are hidden, under masks of these settings.
        found["masking"] = config.masking.model_dump(mode="json")
    return found


def _data(data: Data, config: Config) -> str:
    digest = hashlib.sha256(json.dumps(data.labels).encode())
    domain, _ = columns_apart(data.domain, config)
    for name, rows in [("domain", domain), *((name, split.rows) for name, split in sorted(data.examples.items()))]:
        digest.update(name.encode())
        for part in rows.contents():
            digest.update(part)
    for split in data.examples.values():
        for part in split.contents():
            digest.update(part)
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
