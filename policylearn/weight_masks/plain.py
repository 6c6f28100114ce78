"""A task as an ordinary model of transformers, its masks multiplied into the weights.

Which class? The features of a text are the mean of its last hidden states, and no sequence classification model of the
BERT family has just that in front of its linear map: BERT's pools the first token, through a layer and a tanh that
were never trained here. But the map is linear, so that it may come before the mean:

    W · mean_t h_t + b  =  mean_t (W h_t + b)

A token classification model has the right-hand side as its logits. So a text's logits are the mean of its tokens'
logits, special tokens included and padding left out: the same numbers, by construction, without any code of ours.
"""

import copy
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel, PreTrainedTokenizerBase

from policylearn.masking.vocabulary import lone_mark
from policylearn.models.model import Elsewhere, InnerModel, mean_pool
from policylearn.models.whole import inner_model
from policylearn.tasks.tagging import blank_before
from policylearn.weight_masks.task import WeightMasks

CARD = """# {title}

The logits of a text are the mean of the logits of its tokens, padding left out:

```python
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForTokenClassification.from_pretrained(folder)
batch = tokenizer({texts}, padding=True, truncation=True, max_length={length}, return_tensors="pt")
real = batch["attention_mask"][:, :, None]
with torch.no_grad():
    logits = (model(**batch).logits * real).sum(1) / real.sum(1)
{last}
```
"""
WORDS = """# A tagger of words

A word's tag is that of its first token{told}. Words are such as it was learned from:
lists have their own; texts are cut into runs of letters and digits, and marks, as here, and by
`policylearn.data.tags.words_of` with more care for scripts that have no blanks, or signs that are part of a letter.

```python
import re

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForTokenClassification.from_pretrained(folder)
words = re.findall(r"\\w+|[^\\w\\s]", text)
batch = tokenizer({words}, is_split_into_words=True, truncation=True, max_length={length}, return_tensors="pt")
with torch.no_grad():
    best = model(**batch).logits[0].argmax(1).tolist()
of = batch.word_ids()
{unmarked}tags = [(word, model.config.id2label[best[of.index(i)]]) for i, word in enumerate(words) if i in of]
```
"""
UNMARKED = """ids = batch["input_ids"][0].tolist()
of = [None if i == {mark} and word == after else word for i, word, after in zip(ids, of, [*of[1:], None])]
"""
CLASSES = {
    "title": "A text classifier",
    "last": "labels = [model.config.id2label[int(i)] for i in logits.argmax(1)]",
}
NUMBERS = {"title": "A number for every text", "last": "numbers = logits[:, 0]"}
LABEL_LISTS = {
    "title": "Labels for every text",
    "last": "labels = [[model.config.id2label[i] for i in row.nonzero()[:, 0].tolist()] for row in logits > 0]",
}
CARDS: dict[str | None, dict[str, str]] = {"regression": NUMBERS, "multi_label_classification": LABEL_LISTS}
"""By `problem_type`; of one class each where there is none."""


def fold(model: InnerModel, masks: WeightMasks) -> PreTrainedModel:
    """The task as a token classification model, the masks multiplied into the weights; `model` is not changed.

    Raises:
        ValueError: the masks are of another encoder, or the architecture has no such model.
    """
    return plain_model(model, masks.weights(model), masks.weight, masks.bias, masks.labels)


def plain_model(
    model: InnerModel,
    parameters: Mapping[str, Tensor],
    weight: Tensor,
    bias: Tensor,
    labels: tuple[str, ...],
    problem_type: str | None = None,
) -> PreTrainedModel:
    """A token classification model of this encoder and head.

    Args:
        model: gives the architecture.
        parameters: of the encoder, by name in `model`.
        weight, bias: of the head, [C, d] and [C].
        labels: C names of what the head gives.
        problem_type: as transformers has it; None: a text has one class.

    Raises:
        ValueError: transformers has none for this architecture, its parts are others, or its head is not a linear map.
    """
    config = copy.deepcopy(model.mlm.config)
    config.dtype = torch.float32  # as the parameters are, whatever type the checkpoint is kept in
    config.id2label, config.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    config.problem_type = problem_type  # type: ignore[assignment]  # a name of transformers, or it says so
    try:
        plain = AutoModelForTokenClassification.from_config(config)
    except ValueError:
        raise ValueError(f"transformers has no token classification model of type {config.model_type!r}") from None
    try:
        plain.eval().base_model.load_state_dict(_of_encoder(model, parameters))
    except RuntimeError:  # of torch, which lists the keys
        raise ValueError(
            f"transformers' token classification model of type {config.model_type!r} is not of the parts of this "
            "encoder, so it cannot say the same: use the weight masks themselves"
        ) from None
    head = getattr(plain, "classifier", None)
    if isinstance(head, nn.Linear):
        head.load_state_dict({"weight": weight, "bias": bias})
    if not isinstance(head, nn.Linear) or not _same(Elsewhere(inner_model(model.mlm), parameters), plain, weight, bias):
        raise ValueError(
            f"the token classification model of type {config.model_type!r} is more than a linear map on the encoder, "
            "so it cannot say the same: use the weight masks themselves"
        )
    return plain


def _of_encoder(model: InnerModel, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of the encoder at these parameters: embeddings may have the name of the head that they are tied to, and
    some encoders keep their positions in buffers."""
    base, names = model.mlm.base_model, {p: name for name, p in model.named_parameters()}
    tied = base.named_parameters(remove_duplicate=False)
    return base.state_dict() | {name: parameters[names[p]] for name, p in tied}


def _same(features: Elsewhere, plain: PreTrainedModel, weight: Tensor, bias: Tensor) -> bool:
    """Whether both say the same of two made-up texts, one of them padded; bf16 is not asked for."""
    ids = torch.arange(plain.config.vocab_size - 6, plain.config.vocab_size).expand(2, 6)
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    with torch.no_grad():
        ours = features(ids, real).float().cpu() @ weight.cpu().T + bias.cpu()
        return torch.allclose(ours, text_logits(plain, ids, real), atol=1e-3 * float(1 + ours.abs().max()))


def text_logits(plain: PreTrainedModel, input_ids: Tensor, real: Tensor) -> Tensor:
    """Logits of texts [B, C] by a folded model: the mean over real tokens."""
    return mean_pool(plain(input_ids=input_ids, attention_mask=real.long()).logits, real)


def save_plain(
    folder: str | os.PathLike[str],
    plain: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    pairs: bool = False,
    words: bool = False,
) -> Path:
    """Write the model with its tokenizer, and how to use them; `length`: tokens of the longest texts it has seen, which
    were pairs of texts or not. `words`: its logits are of words, not of texts."""
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    card = _card_of_words(tokenizer, length) if words else _card_of_texts(plain, length, pairs)
    (Path(folder) / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def _card_of_texts(plain: PreTrainedModel, length: int, pairs: bool) -> str:
    texts = "texts, second_texts" if pairs else "texts"
    return CARD.format(length=length, texts=texts, **CARDS.get(plain.config.problem_type, CLASSES))


def _card_of_words(tokenizer: PreTrainedTokenizerBase, length: int) -> str:
    blank = blank_before(tokenizer)
    words = f"[*words[:1], *({blank!r} + word for word in words[1:])]" if blank else "words"
    mark = lone_mark(tokenizer, of_bytes=True)
    told = "" if mark is None else f" other than {tokenizer.convert_ids_to_tokens(mark)}"
    unmarked = "" if mark is None else UNMARKED.format(mark=mark)
    return WORDS.format(length=length, words=words, told=told, unmarked=unmarked)
