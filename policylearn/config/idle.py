"""Settings that were changed and of which nothing comes under the others. A run that was begun with them is to go on,
and a config may be for several: they are told, and not refused."""

from policylearn.config.experiment import PATCHES, Config
from policylearn.config.masking import MaskingConfig
from policylearn.config.running import parts_of
from policylearn.config.scores import DifferenceConfig, scorer_of

SHOWN = ("mask_share", "random_share", "random_token_ids")
"""Of [masking]: what is shown in place of masked tokens."""
OF_PATCHES = ("anchors", "anchor_ratio", "anchor_count")
"""Of [scores.difference]: what visual words have as well."""


def idle_settings(config: Config) -> list[str]:
    """What a person should know of settings of [masking], of masks beside labels, and of pictures those of
    [scores.difference], that do nothing, in a line each.

    >>> idle_settings(Config.model_validate({"masking": {"draws": 2}}))
    ['masking.draws  does nothing: it is for masking.design = "explore"']
    >>> idle_settings(Config.model_validate({"masking": {"draws": 2}, "evaluate": {"arms": ["random", "explore"]}}))
    []
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
        + [
            f"scores.difference.{name}  does nothing: it is of texts"
            for name in type(difference).model_fields
            if config.patches.words and name not in OF_PATCHES and getattr(difference, name) != getattr(unchanged, name)
        ]
    )


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
