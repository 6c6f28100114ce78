"""The tokenizer a policy comes with: written, read without running anything of it, and compared with another."""

import copy
import hashlib
import json
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(SPECIAL, (str, dict, type(None))),
    "extra_special_tokens": (list,),
    "model_max_length": (int, float),
    "padding_side": (str,),
    "truncation_side": (str,),
    "clean_up_tokenization_spaces": (bool,),
    "model_input_names": (list,),
}
"""What of `tokenizer_config.json` is read: no names of files, classes or code."""


def tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    """Content of `tokenizer.json` and `tokenizer_config.json`; transformers' `AutoTokenizer` reads them as well.

    Raises:
        ValueError: the tokenizer is not a fast one.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer: a policy is saved with fast ones only")
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    # What it remembers is the truncation and padding of whatever call came last.
    backend.no_truncation()
    backend.no_padding()
    settings: dict[str, Any] = {name: getattr(tokenizer, name) for name in SPECIAL}
    settings |= {name: getattr(tokenizer, name, None) for name in KINDS if name not in SPECIAL}
    settings["extra_special_tokens"] = [str(token) for token in tokenizer.extra_special_tokens]
    kept = {name: value for name, value in settings.items() if value is not None}
    config = {"tokenizer_class": PreTrainedTokenizerFast.__name__, **kept}
    return backend.to_str(pretty=True), json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def read_tokenizer(content: str, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer from `tokenizer.json` and the settings of `tokenizer_config.json`, of which only `KINDS` matter.

    Raises:
        ValueError: they do not make a tokenizer with a mask and a padding token.
    """
    if "auto_map" in settings:
        raise ValueError("the tokenizer wants to run code that comes with it, which is never done")
    known = {name: settings[name] for name in KINDS if name in settings}
    if wrong := [name for name, value in known.items() if not isinstance(value, KINDS[name])]:
        raise ValueError(f"{wrong[0]} is {known[wrong[0]]!r}")
    backend = _backend(content)
    for name in SPECIAL:
        if isinstance(known.get(name), dict):
            known[name] = AddedToken(str(known[name].get("content")), special=True)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **known)
    if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no mask token or no padding token")
    return tokenizer


def _backend(content: str) -> Tokenizer:
    try:
        backend = Tokenizer.from_str(content)
    except BaseException as error:  # storage boundary: what breaks off in Rust is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ValueError(f"it cannot be read: {error}") from error
    # A padding to a length of its own would be a way to take any amount of memory.
    backend.no_truncation()
    backend.no_padding()
    return backend


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the vocabulary, token by token in id order, and of the special ids."""
    found = hashlib.sha256()
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        found.update(f"{index}\t{token}\n".encode())
    found.update(json.dumps(sorted(tokenizer.all_special_ids)).encode())
    return found.hexdigest()


def first_difference(own: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str | None:
    """The first token id, or the first special token, by which another tokenizer differs from the policy's; else None.

    >>> from tokenizers import models
    >>> def words(*names):
    ...     backend = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="?"))
    ...     return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="_", unk_token="?")
    >>> first_difference(words("?", "_", "a"), words("?", "_", "the"))
    "id 2: the policy has 'a', this tokenizer 'the'"
    >>> first_difference(words("?", "_", "a"), words("?", "_", "a", "the"))
    "id 3: the policy has nothing, this tokenizer 'the'"
    """
    mine, theirs = ({i: token for token, i in t.get_vocab().items()} for t in (own, other))
    for i in sorted(mine.keys() | theirs.keys()):
        if mine.get(i) != theirs.get(i):
            return f"id {i}: the policy has {_named(mine.get(i))}, this tokenizer {_named(theirs.get(i))}"
    if own.mask_token != other.mask_token:
        pair = _named(own.mask_token), _named(other.mask_token)
        return f"mask_token: the policy has {pair[0]}, this tokenizer {pair[1]}"
    for i in sorted(set(own.all_special_ids) ^ set(other.all_special_ids)):
        says = ("special", "not special") if i in own.all_special_ids else ("not special", "special")
        return f"id {i}, {mine.get(i)!r}: {says[0]} for the policy, {says[1]} for this tokenizer"
    return None


def _named(token: str | None) -> str:
    return "nothing" if token is None else repr(token)
