"""Vectors of words by themselves, without a text around them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from policylearn.masking.vocabulary import ids_of
from policylearn.models.agreement import check_rows, usable_positions
from policylearn.models.checkpoint import check_exists, load_weights, reason
from policylearn.models.model import Features, InnerModel, mean_pool
from policylearn.scores.lexicon import PIECES
from policylearn.scores.sources import Sources

BATCH, LONGEST = 512, 64
"""Words run together, and tokens of the longest, special tokens included."""

Embed = Callable[[np.ndarray], Tensor]
"""Token ids of words [n, PIECES], filled up with -1 → their vectors [n, d], float32 on the CPU."""


def word_embedder(sources: Sources) -> Embed:
    """The vectors `scores.difference.embedding` asks for.

    - "input": the mean of the input embeddings of a word's pieces;
    - "encoder": an encoder run on the word alone between its special tokens, the last hidden states averaged. It is
      θ₀, or the one of `scores.difference.embedding_model`, which reads words as strings with a tokenizer of its own.

    Raises:
        ValueError: the encoder cannot be loaded, or would not be used.
    """
    config = sources.config.difference
    if config.embedding == "input":
        if config.embedding_model is not None:
            raise ValueError(
                'scores.difference.embedding_model is used with scores.difference.embedding = "encoder" only; '
                "set that too"
            )
        return from_input_embeddings(sources.model())
    if config.embedding_model is None:
        return from_inner_model(sources.model(), sources.tokenizer)
    return from_encoder(*load_encoder(config.embedding_model), sources.tokenizer)


def type_pieces(size: int) -> np.ndarray:
    """Every one of V token types as a word of one piece, [V, PIECES] int32."""
    pieces = np.full((size, PIECES), -1, dtype=np.int32)
    pieces[:, 0] = np.arange(size)
    return pieces


def batches(pieces: np.ndarray, size: int = BATCH) -> Iterator[np.ndarray]:
    """Row numbers of words [n, PIECES], short words first, so that words of a batch need little padding."""
    order = np.argsort((pieces >= 0).sum(1), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def from_input_embeddings(model: InnerModel) -> Embed:
    """Mean of the input embeddings of the pieces."""
    weight = model.mlm.get_input_embeddings().weight
    assert isinstance(weight, Tensor)
    table = weight.detach().float().cpu()

    def embed(pieces: np.ndarray) -> Tensor:
        ids = torch.from_numpy(pieces).long()
        return mean_pool(table[ids.clamp(min=0)], ids >= 0)

    return embed


def from_inner_model(model: InnerModel, tokenizer: PreTrainedTokenizerBase) -> Embed:
    """The pieces between the special tokens of `tokenizer`, as `model` sees them."""
    before, after = _around(tokenizer)

    def embed(pieces: np.ndarray) -> Tensor:
        rows = [[*before, *row[row >= 0].tolist(), *after] for row in pieces]
        encoded = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
        return _run(model, encoded["input_ids"], encoded["attention_mask"], next(model.parameters()).device)

    return embed


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer puts before a text, and those behind it."""
    read = tokenizer("a", return_special_tokens_mask=True)
    ids, special = read["input_ids"], read["special_tokens_mask"]
    own = [place for place, added in enumerate(special) if not added]
    if not own:  # it knows no letter
        return ids[: len(ids) // 2], ids[len(ids) // 2 :]
    return ids[: own[0]], ids[own[-1] + 1 :]


def from_encoder(
    encoder: PreTrainedModel, reader: PreTrainedTokenizerBase, tokenizer: PreTrainedTokenizerBase
) -> Embed:
    """Words as strings, as an `encoder` with the tokenizer `reader` sees them.

    Args:
        encoder: whose last hidden states are averaged.
        reader: its tokenizer.
        tokenizer: the one the pieces are of.
    """
    longest = min(LONGEST, usable_positions(encoder) or LONGEST)
    inside = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None) or ""

    def features(input_ids: Tensor, real: Tensor) -> Tensor:
        hidden = encoder(input_ids=input_ids, attention_mask=real.long()).last_hidden_state
        return mean_pool(hidden.float(), real)

    def embed(pieces: np.ndarray) -> Tensor:
        spelt = [row[row >= 0].tolist() for row in pieces]
        texts = tokenizer.batch_decode(spelt, clean_up_tokenization_spaces=False)
        # A word of white space alone still needs a token.
        words = [text.strip().removeprefix(inside) or "?" for text in texts]
        encoded = reader(words, padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return _run(features, encoded["input_ids"], encoded["attention_mask"], encoder.device)

    return embed


def _run(features: Features, input_ids: Tensor, real: Tensor, device: torch.device) -> Tensor:
    with torch.no_grad():
        return features(input_ids.to(device), real.to(device).bool()).float().cpu()


def load_encoder(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An encoder and its tokenizer, by path or Hub name.

    Raises:
        ValueError: it cannot be loaded, lacks weights, or its tokenizer has ids it has no embedding of.
    """
    key = "scores.difference.embedding_model"
    check_exists(key, name)
    encoder, _ = load_weights(AutoModel, name, key, "an encoder", trust_remote_code=False)
    try:
        reader = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:  # storage boundary: a foreign file fails in any way it likes
        raise ValueError(f"the tokenizer of {key} {name!r} cannot be loaded: {reason(error)}") from error
    check_rows(encoder, ids_of(reader), f"{key} {name!r}")
    reader.pad_token = reader.pad_token or reader.eos_token  # whatever it is, it is not attended to
    if encoder.config.is_encoder_decoder:
        encoder = encoder.get_encoder()
    return encoder.eval(), reader
