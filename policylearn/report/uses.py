"""How models are used for the score, once they are trained."""

from collections.abc import Mapping
from typing import Any

from policylearn.report.formats import count

USES = {
    "probe": "a linear model of frozen features",
    "finetune": "fine-tuning",
    "joint": "fine-tuning on masked tokens as well",
    "weight_mask": "binary masks of the weights",
}
"""Entries of `evaluate.downstream` in words."""


def use_in_words(config: Mapping[str, Any]) -> str:
    """How the trained model is used for the score, and by how many labels.

    >>> use_in_words({"evaluate": {"downstream": ["probe"], "labelled": 200, "subsets": 3}})
    'by a linear model of frozen features, from 200 labelled examples of train (mean of 3 draws)'
    >>> use_in_words({"evaluate": {"downstream": ["finetune@50", "probe"]}})
    'by fine-tuning, from 50 labelled examples of train'
    """
    given = config.get("evaluate") or {}
    how, _, own = str((given.get("downstream") or [""])[0]).partition("@")
    draws = given.get("subsets") or 1
    if not how:
        return ""
    number = own or given.get("labelled")
    amount = f"{count(int(number))} labelled examples of train" if number else "all labels of train"
    return f"by {USES.get(how, how)}, from {amount}" + (f" (mean of {draws} draws)" if number and draws > 1 else "")
