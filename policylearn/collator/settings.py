"""Settings of a collator as a stranger gives them: each of the right type, or refused by its name."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from policylearn.collator.words import CHINESE_REF, WORD_IDS
from policylearn.masking.eligibility import special_table
from policylearn.masking.field import text_field
from policylearn.masking.vocabulary import check_mask, ids_of, is_table_of, special_ids
from policylearn.policy.policy import MaskingPolicy

SWITCHES = ("mlm", "whole_word_mask", "vary_repeats", "own_labels", "complement")
SHARES = ("mlm_probability", "mask_replace_prob", "random_replace_prob")
NUMBERS = {"pad_to_multiple_of": 1, "seed": 0}
"""Field → the least that it may be."""
BITS = 63
"""Of a seed: further ones would be cut off, and another seed taken."""
FORMS = ("pt", "np")


def check_settings(fields: Mapping[str, Any]) -> None:
    """Refuse what is of no use, by name; None leaves a setting to the policy. Ranges of shares the policy knows.

    Args:
        fields: of a collator, by name.

    Raises:
        ValueError: a field is of a wrong type, or a number below the least.

    >>> check_settings({"mlm": True, "mlm_probability": 0.3, "pad_to_multiple_of": 8, "seed": None})
    >>> check_settings({"mlm": True, "mlm_probability": "0.3"})
    Traceback (most recent call last):
    ValueError: mlm_probability '0.3' is no number: give a share such as 0.15, or None for the policy's own
    """
    if isinstance(fields["mlm"], MaskingPolicy):
        raise ValueError("the second field is mlm: give the policy by name, PolicyCollator(tokenizer, policy=...)")
    if isinstance(fields["mlm"], PreTrainedTokenizerBase):
        raise ValueError(
            f"{fields['tokenizer']!r:.80} is no policy that is loaded, behind which a tokenizer would be second: "
            "PolicyCollator.from_pretrained(place, tokenizer)"
        )
    if fields["mlm"] is None:
        raise ValueError("mlm None is neither True nor False: True masks, False masks nothing")
    check_switches(fields)
    for name in SHARES:
        value = fields.get(name)
        if value is not None and (not isinstance(value, Real) or isinstance(value, bool)):
            raise ValueError(
                f"{name} {value!r:.80} is no number: give a share such as 0.15, or None for the policy's own"
            )
    check_numbers(fields)
    words = fields.get("words")
    if words not in (None, WORD_IDS, CHINESE_REF) and not callable(words):
        raise ValueError(f"words {words!r:.80}: give {WORD_IDS!r}, {CHINESE_REF!r}, a function of an example, or None")
    if (form := fields.get("return_tensors", "pt")) not in FORMS:
        raise ValueError(f"return_tensors {form!r:.80}: give 'pt' for torch or 'np' for NumPy")


def check_switches(fields: Mapping[str, Any]) -> None:
    """The same of what is True or False alone."""
    for name in SWITCHES:
        if (value := fields.get(name)) is not None and not is_switch(value):
            raise ValueError(f"{name} {value!r:.80} is neither True nor False: give one of them")


def check_numbers(fields: Mapping[str, Any]) -> None:
    """The same of whole numbers alone."""
    for name, least in NUMBERS.items():
        value = fields.get(name)
        if value is not None and (
            not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) < 2**BITS
        ):
            raise ValueError(f"{name} {value!r:.80} must be a whole number from {least} to 2**{BITS} - 1, or None")


def check_made_of(tokenizer: Any, policy: Any, masks: bool) -> None:
    """Refuse what is no tokenizer or policy, and a tokenizer without a token to mask with alone.

    Args:
        tokenizer: what was given as one.
        policy: what was given as one; None: nothing.
        masks: whether anything is to be masked.

    Raises:
        ValueError: one is a name or something else, or masks are wanted and there is no mask token, or it
            is the padding token.
    """
    if not isinstance(policy, MaskingPolicy | None):
        raise ValueError(
            f"policy {policy!r:.80} is no policy: give one that is loaded, load_policy(...).policy, or load policy and "
            "tokenizer together, PolicyCollator.from_pretrained(...)"
        )
    check_tokenizer(tokenizer)
    if masks and tokenizer.mask_token_id is None:
        more = ', set tokenizer.mask_token = "<extra_id_0>" (of T5)' if "<extra_id_0>" in tokenizer.get_vocab() else ""
        raise ValueError(f"the tokenizer has no mask token: take one that has{more}, or mlm=False to mask nothing")
    if masks:
        check_mask(tokenizer, "the tokenizer")


def check_tokenizer(given: Any) -> None:
    """Raises ValueError where it is a name, or nothing of transformers."""
    if isinstance(given, str):
        raise ValueError(
            f"tokenizer {given!r:.80} is a name: give the tokenizer itself, AutoTokenizer.from_pretrained(...)"
        )
    if not isinstance(given, PreTrainedTokenizerBase):
        raise ValueError(f"tokenizer is a {type(given).__name__}: give a tokenizer of transformers")


def check_speaks(tokenizer: PreTrainedTokenizerBase, policy: MaskingPolicy, masks: bool) -> None:
    """Refuse a tokenizer whose ids mean something else to a policy: a smaller one would be masked as well, with a token
    of no meaning.

    Args:
        tokenizer: any.
        policy: over texts.
        masks: whether anything is to be masked.

    Raises:
        ValueError: it has another number of ids, another mask token, or others are special.
    """
    field, given = text_field(policy.field), ids_of(tokenizer)
    if given != field.size:
        different = f"the tokenizer has {given} tokens, the policy knows {field.size}"
    elif masks and tokenizer.mask_token_id != field.mask_id:
        different = f"the tokenizer masks with id {tokenizer.mask_token_id}, the policy with {field.mask_id}"
    elif not is_table_of(tokenizer, field.special):
        other = special_table(special_ids(tokenizer), given) != field.special
        different = f"id {int(other.nonzero()[0])} is special to the tokenizer alone, or to the policy alone"
    else:
        return
    raise ValueError(f"{different}: it is another's, so take the tokenizer that the policy was made with")


def is_switch(value: Any) -> bool:
    """True or False, or what counts as such everywhere."""
    return isinstance(value, (bool, np.bool_)) or (isinstance(value, Integral) and value in (0, 1))
