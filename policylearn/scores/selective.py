"""Selective masking: the words a classifier of the task needs, found by giving it the text word by word
("Train No Evil", Gu et al., EMNLP 2020)."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from policylearn.masking.units import leads, word_keys, word_starts
from policylearn.messages.watch import UNSEEN, Watch
from policylearn.policy.scores import Scores
from policylearn.scores.classifier import BATCH, TextClassifier, by_classifier, fit_classifier, some_labelled
from policylearn.scores.occurrences import OccurrenceMeans
from policylearn.scores.sources import Sources


def selective(sources: Sources) -> Scores:
    """Share (shrunk) of the occurrences of a type or word, in labelled texts, that are important for the label.

    The paper trains a token classifier on the important words, to find more of them in the domain; here the share
    found for a word stands for it wherever it occurs. A type that occurs in no labelled text has the mean of the
    others. `scores.model_texts` labelled texts at most are looked at, with one forward pass per word of each.
    """
    model, pad_id = sources.model(), sources.tokenizer.pad_token_id
    rows, y = some_labelled(sources)
    classifier = fit_classifier(model, rows, y, pad_id, sources.watch)
    order = np.concatenate(rows.by_length(len(rows)))
    texts = words_of(sources, *rows.batch(order, pad_id), y[torch.from_numpy(order)])
    important = important_words(classifier, texts, sources.config.selective.delta, sources.watch)
    means = OccurrenceMeans(sources.vocabulary, sources.lexicon)
    means.add(texts.ids, texts.real, important.float())
    return replace(means.scores(shrunk=True), learned_from=by_classifier(rows))


@dataclass(frozen=True)
class Texts:
    """Labelled texts to be given to a classifier word by word.

    Attributes:
        ids: [N, T].
        real: [N, T] boolean, not padding.
        y: [N] classes.
        frame: [N, T] boolean, special tokens: always given.
        lead: [N, T] position of the first token of the word each position belongs to.
        tested: [N, T] boolean, at the leads of the words that may be important.
    """

    ids: Tensor
    real: Tensor
    y: Tensor
    frame: Tensor
    lead: Tensor
    tested: Tensor

    def take(self, rows: Tensor) -> "Texts":
        """Some of the texts."""
        parts = (self.ids, self.real, self.y, self.frame, self.lead, self.tested)
        return Texts(*(part[rows] for part in parts))


def important_words(classifier: TextClassifier, texts: Texts, delta: float, watch: Watch = UNSEEN) -> Tensor:
    """True at every token of the important words, [N, T] boolean.

    The words of a text are gone through with a buffer, empty at first. Word w is important if

        P(y | buffer + w) > P(y | text) − δ

    and is else added to the buffer: what has been said already must not hide what the next word says. Words not
    `tested` (stop words) are added without a test. All texts take their k-th step at once.

    Args:
        classifier: P(y | text).
        texts: N of them.
        delta: δ.
        watch: shows how many words have been tested.
    """
    enough = _probability(classifier, texts, texts.real) - delta
    place = texts.tested.cumsum(1) * texts.tested
    important = torch.zeros_like(texts.real)
    steps = [(step, (place == step).any(1).nonzero()[:, 0]) for step in range(1, int(place.max()) + 1)]
    for step, rows in watch("testing words of labelled texts", steps, int(texts.tested.sum()), lambda s: len(s[1])):
        now = texts.take(rows)
        lead = (place[rows] == step).long().argmax(1, keepdim=True)
        word = now.lead == lead
        given = now.frame | word | (now.real & ~important[rows] & (now.lead < lead))
        important[rows] |= word & (_probability(classifier, now, given) > enough[rows])[:, None]
    return important


def _probability(classifier: TextClassifier, texts: Texts, given: Tensor) -> Tensor:
    """P(y | the given positions alone, moved together), [N]."""
    parts = []
    with torch.no_grad():
        for ids, y, here in zip(*(x.split(BATCH) for x in (texts.ids, texts.y, given)), strict=True):
            compact, real = moved_together(ids, here)
            parts.append(classifier(compact, real).gather(1, y[:, None])[:, 0].exp())
    return torch.cat(parts)


def moved_together(ids: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """The given tokens of each row [B, T] side by side, in order, and where they are; [B, longest] each.

    >>> moved_together(torch.tensor([[5, 6, 7], [8, 9, 4]]), torch.tensor([[True, False, True], [False, True, False]]))
    (tensor([[5, 7],
            [9, 8]]), tensor([[ True,  True],
            [ True, False]]))
    """
    counts = given.sum(1, keepdim=True)
    order = (~given).long().argsort(dim=1, stable=True)[:, : int(counts.max())]
    return ids.gather(1, order), torch.arange(order.shape[1]) < counts


def words_of(sources: Sources, ids: Tensor, real: Tensor, y: Tensor) -> Texts:
    """Texts [N, T] of classes y [N], cut into words of which all but stop words are to be tested."""
    frame = real & sources.vocabulary.special[ids]
    starts = word_starts(ids, real, sources.vocabulary)
    lead = leads(starts)
    tested = starts & real & ~frame & ~stop_words(sources.tokenizer, ids, lead)
    return Texts(ids, real, y, frame, lead, tested)


def stop_words(tokenizer: PreTrainedTokenizerBase, ids: Tensor, lead: Tensor) -> Tensor:
    """True at the leads of English stop words (scikit-learn's list), [N, T] boolean."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    keys, inverse = word_keys(ids, lead).unique(return_inverse=True)
    # Every word is spelt out once: where it stands for the last time is as good a place as any.
    where = torch.zeros(len(keys), dtype=torch.int64).scatter(0, inverse.flatten(), torch.arange(ids.numel()))
    rows, places = where // ids.shape[1], where % ids.shape[1]
    spelt = [ids[row][lead[row] == place].tolist() for row, place in zip(rows, places, strict=True)]
    texts = tokenizer.batch_decode(spelt, clean_up_tokenization_spaces=False)
    return torch.tensor([text.strip().lower() in ENGLISH_STOP_WORDS for text in texts])[inverse]
