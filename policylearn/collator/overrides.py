"""The settings of a collator that take the place of the policy's own."""

import warnings
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from policylearn.masking.vocabulary import marks_words
from policylearn.policy.policy import MaskingPolicy

FIELDS = {
    "mlm_probability": "rate",
    "mask_replace_prob": "mask_share",
    "random_replace_prob": "random_share",
    "whole_word_mask": "unit",
}
"""Field of a collator → setting of a policy."""
SHOWN = ("mask_replace_prob", "random_replace_prob")
"""The shares of masked tokens that are shown as something else."""
UNITS = {True: "word", False: "token"}


class Overrides:
    """A policy under settings, all of which may change from one batch to the next, the policy too."""

    def __init__(self) -> None:
        self._read: tuple[Any, ...] = ()
        self._applied: MaskingPolicy

    def under(self, fields: Mapping[str, Any]) -> MaskingPolicy:
        """The policy of a collator under its other fields, of which None leaves the policy's own setting.

        Raises:
            ValueError: one is out of its range.
        """
        given = {name: value for name in FIELDS if (value := fields[name]) is not None}
        policy, tokenizer, own_words = fields["policy"], fields["tokenizer"], fields.get("words") is not None
        if (read := (policy, tokenizer, own_words, fields["mlm"], given)) != self._read:
            self._check(*read)
            changes = {
                FIELDS[name]: UNITS[value] if name == "whole_word_mask" else value for name, value in given.items()
            }
            self._read, self._applied = read, policy.under(**changes) if changes else policy
        return self._applied

    def _check(
        self,
        policy: MaskingPolicy,
        tokenizer: PreTrainedTokenizerBase,
        own_words: bool,
        masks: bool,
        given: Mapping[str, Any],
    ) -> None:
        """By the names of the fields; what else is wrong, the policy says."""
        rate, masking = given.get("mlm_probability"), policy.masking
        if rate is not None and not 0 < rate < masking.p_max:
            raise ValueError(
                f"mlm_probability {rate} must lie between 0 and {masking.p_max}, p_max of the policy: what is masked "
                "is predicted from what is not; mlm=False masks nothing"
            )
        shares = {name: given.get(name, getattr(masking, FIELDS[name])) for name in SHOWN}
        if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
            raise ValueError(f"{wrong[0]} {shares[wrong[0]]} must lie between 0 and 1")
        if sum(shares.values()) > 1 + 1e-9:
            said = " + ".join(f"{name} {share:g}" for name, share in shares.items())
            raise ValueError(f"{said} must not exceed 1: lower one (what is not given is the policy's)")
        if given.get("whole_word_mask") and not own_words and not marks_words(tokenizer):
            raise ValueError(
                "the tokenizer leaves no mark of words that is known here: set whole_word_mask=False, or say what is a "
                'word, words="word_ids"'
            )
        unit = UNITS[given["whole_word_mask"]] if "whole_word_mask" in given else masking.unit
        if masks and own_words and unit == "token" and not policy.scores_words:
            warnings.warn(
                "words= changes nothing: tokens are masked one by one, and scored so; set whole_word_mask=True",
                stacklevel=2,
            )
