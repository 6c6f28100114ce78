"""The tokenizer a policy comes with: written, read without running anything of it, and compared with another."""

import copy
import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from policylearn.masking.vocabulary import SAMPLE, ids_of, is_table_of

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
NEEDED = ("mask_token", "pad_token")
Token = str | dict[str, Any] | None


class TokenizerSettings(BaseModel):
    """What of `tokenizer_config.json` is read: no names of files, classes or code."""

    bos_token: Token = None
    eos_token: Token = None
    unk_token: Token = None
    sep_token: Token = None
    pad_token: Token = None
    cls_token: Token = None
    mask_token: Token = None
    extra_special_tokens: list[str | dict[str, Any]] = []
    model_max_length: float | None = Field(None, ge=1)
    padding_side: Literal["left", "right"] = "right"
    truncation_side: Literal["left", "right"] = "right"
    clean_up_tokenization_spaces: bool = False
    model_input_names: list[str] = ["input_ids", "token_type_ids", "attention_mask"]

    @field_validator("model_input_names")
    @classmethod
    def _begins_with_tokens(cls, names: list[str]) -> list[str]:
        if names[:1] != ["input_ids"]:
            raise ValueError(f"model_input_names is {names}, which does not begin with input_ids")
        return names

    def arguments(self) -> dict[str, Any]:
        """Those of a tokenizer's constructor."""
        found = {name: _spelt(value) if name in SPECIAL else value for name, value in self}
        if self.model_max_length is not None:
            found["model_max_length"] = int(self.model_max_length)
        return found | {"extra_special_tokens": [_spelt(token) for token in self.extra_special_tokens]}


def _spelt(token: Token) -> str | None:
    """A special token, of which old files say more than how it is spelt."""
    return str(token["content"]) if isinstance(token, dict) else token


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
    settings |= {name: getattr(tokenizer, name, None) for name in TokenizerSettings.model_fields if name not in SPECIAL}
    settings["extra_special_tokens"] = _without_role(tokenizer)
    kept = {name: value for name, value in settings.items() if value is not None}
    config = {"tokenizer_class": PreTrainedTokenizerFast.__name__, **kept}
    return backend.to_str(pretty=True), json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _without_role(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Special tokens besides those of `SPECIAL`; last those that a model has names of its own for."""
    extra = [str(token) for token in tokenizer.extra_special_tokens]
    known = {*extra, *(str(getattr(tokenizer, name)) for name in SPECIAL)}
    return extra + [str(token) for token in tokenizer.all_special_tokens if str(token) not in known]


def check_written(tokenizer: PreTrainedTokenizerBase, backend: str, settings: str, special: Tensor) -> None:
    """Refuse files of `tokenizer_files` that nobody could load with a policy that calls `special` [V] special.

    Raises:
        ValueError: a token is missing, another tokenizer would be read, or it is not that of the policy.
    """
    if lacking := [name for name in NEEDED if getattr(tokenizer, name) is None]:
        raise ValueError(
            f"the tokenizer has no {lacking[0]}, without which nobody could load the policy: set "
            f"tokenizer.{lacking[0]}, and make the policy with it"
        )
    read = read_tokenizer(backend, json.loads(settings))
    if tokenizer_fingerprint(read) != tokenizer_fingerprint(tokenizer):
        raise ValueError(
            f"the tokenizer is another when it is read again: {first_difference(tokenizer, read)}; give one that "
            "its tokenizer.json and its special tokens say all of"
        )
    if not is_table_of(read, special):
        raise ValueError(
            f"the policy is over {len(special)} tokens, the tokenizer has {ids_of(read)}, or other special ones: "
            "give the one that the policy was made with"
        )


def read_tokenizer(content: str, settings: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A tokenizer from `tokenizer.json` and `tokenizer_config.json`.

    Raises:
        ValueError: they do not make a tokenizer with a mask and a padding token.
    """
    if "auto_map" in settings:
        raise ValueError("the tokenizer wants to run code that comes with it, which is never done")
    arguments = TokenizerSettings.model_validate(settings).arguments()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_backend(content), **arguments)
    if any(getattr(tokenizer, name) is None for name in NEEDED):
        raise ValueError("the tokenizer has no mask token or no padding token")
    return tokenizer


def _backend(content: str) -> Tokenizer:
    try:
        backend = Tokenizer.from_str(content)
        # A padding to a length of its own would be a way to take any amount of memory.
        backend.no_truncation()
        backend.no_padding()
        ids = backend.encode(SAMPLE).ids
    except BaseException as error:  # storage boundary: a panic in Rust is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        hint = ": give its model an unk_token that it holds" if "unk" in str(error).lower() else ""
        raise ValueError(f"it makes no tokenizer: {error}{hint}") from error
    if strange := set(ids) - set(backend.get_vocab().values()):
        raise ValueError(f"it uses id {min(strange)}, which no token has")
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
