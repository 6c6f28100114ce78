"""Settings that were changed and of which nothing comes under the others. A run that was begun with them is to go on,
and a config may be for several: they are told, and not refused."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from policylearn.config.experiment import PATCHES, Config
from policylearn.config.masking import MaskingConfig
from policylearn.config.places import BENCHMARKS
from policylearn.config.running import parts_of
from policylearn.config.scores import DifferenceConfig, scorer_of

SHOWN = ("mask_share", "random_share", "random_token_ids")
"""Of [masking]: what is shown in place of masked tokens."""
OF_PATCHES = ("anchors", "anchor_ratio", "anchor_count")
"""Of [scores.difference]: what visual words have as well."""
OF_STAGES = {
    ("strength",): ("strength",),
    ("outcomes",): ("outcomes",),
    ("rounds",): tuple(f"learn.{name}" for name in ("rounds", "rollouts", "learning_rate", "eps", "trust_rate", "lag")),
    ("rounds", "outcomes"): ("learn.max_dropped",),
    ("rounds", "supervised"): ("learn.patience", "learn.select"),
    ("supervised",): ("supervised",),
}
"""What only these stages read."""
OF_OUTER = {
    "probe": ("folds",),
    "finetune": (*(STEPS := ("steps", "batch_size")), *(TUNED := ("optimizer", "learning_rate", "clip"))),
    "joint": (*STEPS, *TUNED, "mlm_weight"),
    "weight_mask": (*STEPS, "sparsity", "mask_rate", "first_layer", "first_order"),
}
"""Of [outer]: what an adaptation of ours reads besides support, query and parameters."""
OF_OPTIMIZER = {"adamw": ("betas", "eps"), "sgd": ("momentum",)}
"""Of [inner]."""
ENGINES = ("unroll", "replay", "finite_difference")
"""Those of ours that credit the batches of a window."""
OF_NETWORKS = {"none": ("features", "hidden", "kernel"), "table": ("features", "hidden", "kernel")} | {
    "neighbours": ("features", "hidden")
}
"""Of [policy]: what a network of ours does not read."""
OF_DATA = {
    "task": ("configuration", "revision", "splits", "dev_share", "test_share", "text", "label", "labels"),
    "domain": ("configuration", "revision", "text"),
    "general": ("configuration", "revision", "text"),
}
"""What a benchmark, which is made up, has no use for."""
OF_ANSWERS = ("path", "text", "answers", "answer_start", "impossible")
"""Of [supervised]."""
OF_RAY = ("address", "resources", "labels", "retries", "deadline")
"""Of [cluster]."""


def idle_settings(config: Config) -> list[str]:
    """What a person should know of settings that do nothing under the others, whatever the command, and of masks beside
    labels; those that do nothing for one reason in one line.

    >>> idle_settings(Config.model_validate({"masking": {"draws": 2}}))
    ['masking.draws  does nothing: it is for masking.design = "explore"']
    >>> idle_settings(Config.model_validate({"masking": {"draws": 2}, "evaluate": {"arms": ["random", "explore"]}}))
    []
    >>> idle_settings(Config.model_validate({"outer": {"steps": 9, "clip": 2.0}}))
    ['outer.steps, outer.clip  do nothing: outer.adaptation is "probe"']
    """
    masking, usual, reasons = config.masking, MaskingConfig(), _reasons(config)
    told = [
        f"masking.{name}  {reasons[name]}"
        for name in type(masking).model_fields
        if name in reasons and getattr(masking, name) != getattr(usual, name)
    ]
    if not (masking.mask_share or masking.random_share or "mask_share" in reasons):
        told.append("masking.mask_share  is 0, as masking.random_share: all masked tokens stay, to be copied")
    if "amlm" in map(scorer_of, config.policy.prior) and "rounds" in config.learn.stages:
        told.append("policy.prior.amlm  follows mistakes between windows of rounds alone, not within them")
    difference, unchanged = config.scores.difference, DifferenceConfig()
    return (
        told
        + _joint(config)
        + _told(config)
        + [
            f"scores.difference.{name}  does nothing: it is of texts"
            for name in type(difference).model_fields
            if config.patches.words and name not in OF_PATCHES and getattr(difference, name) != getattr(unchanged, name)
        ]
    )


def _told(config: Config) -> list[str]:
    """Of the other sections."""
    usual, evaluate = Config(), config.evaluate
    lines = [
        f"evaluate.custom.{arm}  does nothing: evaluate.arms does not name it"
        for arm in evaluate.custom
        if arm not in evaluate.arms
    ]
    for key, names in (("arms", evaluate.arms), ("downstream", evaluate.downstream)):
        lines += [f"evaluate.{key}  names {x!r} {names.count(x)} times: it counts once" for x in _repeated(names)]
    for why, keys in _unread(config):
        changed = [key for given in keys for key in _changed(config, usual, given)]
        if changed:
            lines.append(f"{', '.join(changed)}  {'do' if len(changed) > 1 else 'does'} nothing: {why}")
    return lines


def _repeated(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _changed(config: BaseModel, usual: BaseModel, key: str) -> list[str]:
    """The settings of a dotted key, which may be a section, that are not what they are unless somebody sets them."""
    found: Any
    before: Any
    found, before = config, usual
    for part in key.split("."):
        found, before = getattr(found, part), getattr(before, part)
    if isinstance(found, BaseModel):
        return [one for name in type(found).model_fields for one in _changed(config, usual, f"{key}.{name}")]
    return [key] if found != before else []


def _unread(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Settings that nothing reads, under why."""
    inner, outer, learn, evaluate = config.inner, config.outer, config.learn, config.evaluate
    other = [name for names in OF_OPTIMIZER.values() for name in names if name not in OF_OPTIMIZER[inner.optimizer]]
    yield f'inner.optimizer is "{inner.optimizer}"', [f"inner.{name}" for name in other]
    if inner.engine in ENGINES:
        yield f'inner.engine is "{inner.engine}"', ["inner.credit_batches"]
    if outer.adaptation in OF_OUTER:
        known = dict.fromkeys(name for names in OF_OUTER.values() for name in names)
        unread = [f"outer.{name}" for name in known if name not in OF_OUTER[outer.adaptation]]
        yield f'outer.adaptation is "{outer.adaptation}"', unread
    yield (
        f'policy.network is "{(network := config.policy.network)}"',
        [f"policy.{name}" for name in OF_NETWORKS.get(network, ())],
    )
    for stages, keys in OF_STAGES.items():
        if not {*stages} & {*learn.stages}:
            named = " or ".join(f'"{stage}"' for stage in stages)
            yield f"learn.stages has no {named}", [*keys]
    if "supervised" in learn.stages and config.supervised.targets == "importance":
        yield 'supervised.targets is "importance"', [f"supervised.{name}" for name in OF_ANSWERS]
    if learn.estimator in ("credit", "relaxed"):
        yield f'learn.estimator is "{learn.estimator}"', ["learn.samples"]
    ways = {parts_of(method)[0] for method in evaluate.downstream}
    if "joint" not in ways:
        yield 'evaluate.downstream has no "joint"', ["evaluate.joint"]
    if evaluate.labelled is None and not any(parts_of(method)[1] for method in evaluate.downstream):
        yield "all labelled examples are taken, see evaluate.labelled", ["evaluate.subsets"]
    yield from _unread_data(config)
    if config.cluster.backend == "local":
        read = {"address"} if config.scores.count_on_ray else set()
        yield 'cluster.backend is "local"', [f"cluster.{name}" for name in OF_RAY if name not in read]
    if not config.track.to:
        yield "track.to is empty", ["track.project", "track.name"]
    if config.pretrain.steps is not None:
        yield "pretrain.steps is set", ["pretrain.epochs"]


def _unread_data(config: Config) -> Iterator[tuple[str, list[str]]]:
    """Of models, texts and labels."""
    paths = {name: getattr(config, name).path for name in OF_DATA}
    for benchmark in BENCHMARKS:
        if benchmark not in paths.values():
            yield f'no path is "{benchmark}"', [benchmark.replace("-", "_")]
    for name, keys in OF_DATA.items():
        if paths[name] in BENCHMARKS:
            yield f"{name}.path is a benchmark", [f"{name}.{key}" for key in keys]
    if config.task.answers is None:
        yield "task.answers is unset", ["task.choices", "task.answer_length"]
    if config.model.name is not None:
        yield "model.name is set", ["model.architecture"]
    elif config.model.tokenizer is None:
        yield "neither model.name nor model.tokenizer is set", ["model.revision", "model.trust_remote_code"]
    if not config.patches.words:
        yield "patches.words is 0, and all of texts", [f"patches.{name}" for name in ("zones", "image", "mean", "std")]
    if config.scores.difference.anchor_words is not None and not config.patches.words:
        sought = ("anchors", "anchor_count", "anchor_ratio", "anchor_order", "anchor_share")
        yield "scores.difference.anchor_words names anchors", [f"scores.difference.{name}" for name in sought]
    if config.scores.entity.column is not None:
        yield "scores.entity.column is set", ["scores.entity.model"]


def _joint(config: Config) -> list[str]:
    """What masks of joint tuning are not, though those of the training are."""
    tuned = "joint" in {parts_of(method)[0] for method in config.evaluate.downstream}
    uniform = config.outer.adaptation == "joint" or (tuned and "none" in config.evaluate.arms)
    told = [
        f"evaluate.downstream  joint: masks of {arm} are uniform there, for what they follow is its training's"
        for arm in ("amlm", "live")
        if tuned and arm in config.evaluate.arms
    ]
    if uniform and config.masking.unit == "collocation":
        told.append("masking.unit  joint: uniform masks are of words there, not of collocations")
    return told


def _reasons(config: Config) -> dict[str, str]:
    """Why a setting does nothing, by name; of those that do nothing."""
    masking, arms, objective = config.masking, config.evaluate.arms, config.inner.objective
    own = [config.evaluate.custom[arm].masking for arm in arms if arm in config.evaluate.custom]
    # Arms that are called as a design or a unit have it.
    designs, units = ({getattr(masking, key), *arms, *(one.get(key) for one in own)} for key in ("design", "unit"))
    found = {} if "explore" in designs else {"draws": 'does nothing: it is for masking.design = "explore"'}
    if "span" not in units:
        found |= dict.fromkeys(("span_mean", "span_longest"), 'does nothing: it is for masking.unit = "span"')
    if not masking.random_share:
        found["random_token_ids"] = "does nothing: masking.random_share = 0 shows no random tokens"
    if objective == PATCHES:
        found |= dict.fromkeys(SHOWN, "does nothing: what is shown for hidden patches is the model's own")
    if objective == "masked_diffusion":
        why = f'is for collators alone: inner.objective = "{objective}" hides texts at every rate, and wholly'
        found |= dict.fromkeys(("rate", *SHOWN), why)
    return found
