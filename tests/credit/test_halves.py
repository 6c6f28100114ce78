import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from policylearn.config import PlantedConfig
from policylearn.credit.analysis import MADE_UP, A, B
from policylearn.credit.halves import labelled_halves, text_halves
from policylearn.credit.labels import cross_fitted, made_up, shuffled
from policylearn.credit.reliability import outer_losses
from policylearn.data.alike import same_words, solid_types
from policylearn.data.planted import planted_tokenizer
from policylearn.data.tokens import TokenRows
from policylearn.problems.of_config import problem_of


def test_labelled_halves_share_no_text_and_have_the_same_classes(problem):
    a, b = labelled_halves(problem, None, 0)
    examples = problem.examples("train")
    assert not set(a) & set(b) and len({*a, *b}) == len(examples)
    words = same_words(examples.rows, solid_types(problem.tokenizer))
    assert not set(words[a]) & set(words[b])
    shares = [float(examples.y[half].float().mean()) for half in (a, b)]
    assert shares[0] == pytest.approx(shares[1], abs=0.06)
    assert sum(map(len, labelled_halves(problem, 20, 0))) == 20


def test_what_is_alike_is_in_one_half_wherever_it_stands(tiny, monkeypatch):
    problem = problem_of(tiny())
    monkeypatch.setattr(problem, "alike", lambda rows: np.arange(len(rows)) % (3 * len(rows) // 4))
    for (a, b), groups in ((labelled_halves(problem, None, 0), 45), (text_halves(problem, 0), 60)):
        assert not {*(a % groups)} & {*(b % groups)} and min(len(a), len(b)) > 10


def test_rows_that_follow_one_another_stay_together(tiny, monkeypatch):
    problem = problem_of(tiny())
    monkeypatch.setattr(problem, "alike", lambda rows: np.arange(len(rows)))
    a, b = text_halves(problem, 0)
    assert len(a) == len(b) == len(problem.domain) // 2
    assert np.flatnonzero(np.diff(np.isin(np.arange(80), b).astype(int))).tolist() == [19, 39, 59]  # four blocks


def test_a_sentence_that_is_repeated_with_another_mark_stays_in_one_half():
    solid = solid_types(planted_tokenizer(PlantedConfig()))
    texts = [[10, 11, 12], [11, 10, 12, 4], [20, 21, 22], [4, 20, 21, 22]]
    assert solid[10:23].all() and not solid[4]
    rows = TokenRows(np.concatenate(texts), np.cumsum([0, *map(len, texts)]))
    assert same_words(rows, solid).tolist() == [0, 0, 2, 2]


def test_where_letters_stand_for_bytes_marks_are_no_words():
    pieces = ["<pad>", "a", "Ġa", "Ġ", "Ġ,", "Ċ", "âĢĵ", "Ã©", "Ã", "!", "<far>"]
    numbers = {piece: number for number, piece in enumerate(pieces)} | {"<far>": 12}  # 10 and 11 are nobody's
    backend = Tokenizer(models.WordLevel(numbers, unk_token="<pad>"))
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")
    solid = solid_types(tokenizer)
    assert len(solid) == 13 and np.flatnonzero(solid).tolist() == [1, 2, 7, 8, 12]


def test_rows_of_the_same_words_are_found_as_by_comparing_them_all():
    rng = np.random.default_rng(0)
    lengths, solid = rng.integers(0, 6, size=2500), np.arange(200) // 10 != 2
    rows = TokenRows(rng.integers(0, 30, size=lengths.sum()).astype(np.int32), np.append(0, lengths.cumsum()))
    first: dict[frozenset, int] = {}
    expected = [first.setdefault(frozenset(rows[i][solid[rows[i]]].tolist()), i) for i in range(len(rows))]
    assert same_words(rows, solid).tolist() == expected and 1 < len(first) < 2500


def test_rows_that_hold_all_types_there_are_are_the_same_only_in_the_same_order():
    """Of nucleotides or residues; marks between them, and row breaks anywhere, change nothing."""
    rng, solid = np.random.default_rng(0), np.arange(6) < 4
    texts = rng.integers(0, 4, size=(1500, 12))
    texts[1200:] = texts[:300]
    rows = [np.insert(text, rng.integers(0, 12, size=2), rng.integers(4, 6, size=2)) for text in texts]
    found = same_words(TokenRows(np.concatenate(rows), np.arange(1501) * 14), solid)
    first: dict[bytes, int] = {}
    assert found.tolist() == [first.setdefault(text.tobytes(), i) for i, text in enumerate(texts)]
    assert (found[1200:] < 1200).all()


def test_peptides_that_have_the_same_residues_in_another_order_are_others():
    peptides = np.unique(np.random.default_rng(0).integers(4, 24, size=(3000, 5)), axis=0)
    assert len({frozenset(peptide) for peptide in peptides.tolist()}) < len(peptides)
    rows = TokenRows(peptides.ravel(), np.arange(len(peptides) + 1) * 5)
    assert same_words(rows, np.arange(24) >= 4).tolist() == [*range(len(peptides))]


def test_text_halves_share_no_text(problem):
    a, b = text_halves(problem, 0)
    assert len({*a, *b}) == len(a) + len(b) == len(problem.domain)
    words = same_words(problem.domain, solid_types(problem.tokenizer))
    assert not set(words[a]) & set(words[b])
    assert min(len(a), len(b)) > len(problem.domain) / 4


def test_every_example_is_query_once_per_resplit_and_never_its_own_support(problem):
    picked = np.arange(30)
    loss = cross_fitted(problem, picked, problem.examples("train").y[picked], folds=3, resplits=2, seed=0)
    assert len(loss.splits) == 6
    assert sorted(np.concatenate([q for _, q in loss.splits])) == sorted([*range(30)] * 2)
    assert all(not set(s) & set(q) and len(s) + len(q) == 30 for s, q in loss.splits)
    assert len({tuple(q) for _, q in loss.splits}) == 6  # dealt anew every time


def test_controls_have_the_same_labels_on_other_examples(problem):
    losses = outer_losses(problem)
    assert list(losses) == [A, B, "shuffled 1", MADE_UP]
    for name in ("shuffled 1", MADE_UP):
        assert np.array_equal(losses[name].picked, losses[B].picked)
        assert torch.equal(losses[name].y.sort().values, losses[B].y.sort().values)
        assert not torch.equal(losses[name].y, losses[B].y)
    for name, half in zip((A, B), labelled_halves(problem, None, 0), strict=True):
        assert np.array_equal(losses[name].picked, half)
        assert torch.equal(losses[name].y, problem.examples("train").y[half])
    y = torch.arange(4).repeat(500)
    assert not torch.equal(shuffled(y, 0), shuffled(y, 1))
    assert abs(np.corrcoef(shuffled(y, 0), y)[0, 1]) < 0.1


def test_the_made_up_task_can_be_learned(problem):
    """The labels follow from the words: a text repeated has its label again."""
    y, picked = problem.examples("train").y, np.repeat(np.arange(20), 2)
    found = made_up(problem, picked, torch.arange(2).repeat(20), 0).view(-1, 2)
    assert (found[:, 0] == found[:, 1]).all() and len(y) > 20


def test_every_control_is_shuffled_another_way(tiny):
    losses = outer_losses(problem_of(tiny("diagnose.shuffles=3")))
    assert len({tuple(losses[f"shuffled {i}"].y.tolist()) for i in (1, 2, 3)}) == 3
