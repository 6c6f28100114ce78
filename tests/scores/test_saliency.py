from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import nll_loss
from transformers import AutoConfig, AutoModelForSeq2SeqLM, BertConfig, BertForMaskedLM

from policylearn.arms.policies import sources_of
from policylearn.data.tokens import TokenRows
from policylearn.models.model import InnerModel
from policylearn.models.whole import inner_model
from policylearn.problems.of_config import problem_of
from policylearn.scores.classifier import TextClassifier, fit_classifier, some_labelled, text_features
from policylearn.scores.saliency import gradient_times_input, relative, saliency

PAD, CLS, SEP, SIGN, FILLER = 0, 2, 3, (5, 6), range(7, 30)


@pytest.fixture(scope="module")
def model() -> InnerModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = BertConfig(vocab_size=30, max_position_embeddings=20, pad_token_id=PAD, initializer_range=0.1, **sizes)
    return InnerModel(BertForMaskedLM(config).eval())


@pytest.fixture(scope="module")
def labelled() -> tuple[TokenRows, torch.Tensor]:
    """Texts of filler with one sign, at a random place, that says which of two classes it is."""
    rng = np.random.default_rng(0)
    y, texts = rng.integers(2, size=300), []
    for label in y:
        words = rng.choice(FILLER, size=rng.integers(5, 14))
        words[rng.integers(len(words))] = SIGN[label]
        texts.append([CLS, *words, SEP])
    return TokenRows(np.concatenate(texts), np.cumsum([0, *map(len, texts)])), torch.from_numpy(y)


@pytest.fixture(scope="module")
def classifier(model, labelled) -> TextClassifier:
    return fit_classifier(model, *labelled, PAD)


def test_the_classifier_learns_and_gives_probabilities(model, labelled, classifier):
    rows, y = labelled
    with torch.no_grad():
        log_p = classifier(*rows.batch(range(len(rows)), PAD))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(y)))
    assert (log_p.argmax(1) == y).float().mean() > 0.8


def test_the_classifier_is_scikit_learns(model, labelled, classifier):
    from sklearn.linear_model import LogisticRegression

    from policylearn.scores.classifier import PENALTY

    rows, two = labelled
    three = torch.arange(len(rows)) % 3
    features = text_features(model, rows, PAD)
    for y, found in ((two, classifier), (three, fit_classifier(model, rows, three, PAD))):
        x = ((features - features.mean(0)) / features.std(0)).numpy()
        expected = LogisticRegression(C=PENALTY, max_iter=1000).fit(x, y.numpy()).predict_log_proba(x)
        with torch.no_grad():
            log_p = found(*rows.batch(range(len(rows)), PAD))
        np.testing.assert_allclose(log_p.numpy(), expected, atol=1e-4)


def scaled_loss(classifier: TextClassifier, ids, real, y, place: int, factor: float) -> torch.Tensor:
    """Losses [B] when the embeddings at one place are multiplied by a factor."""

    def scale(module, inputs, output):
        return torch.cat([output[:, :place], factor * output[:, place : place + 1], output[:, place + 1 :]], 1)

    handle = classifier.model.mlm.get_input_embeddings().register_forward_hook(scale)
    with torch.no_grad():
        losses = nll_loss(classifier(ids, real), y, reduction="none")
    handle.remove()
    return losses


def test_saliency_is_what_the_loss_changes_by_when_a_tokens_embedding_is_scaled(model, labelled, classifier):
    rows, y = labelled
    exact = InnerModel(BertForMaskedLM(model.mlm.config).eval()).double()
    exact.load_state_dict(model.state_dict())
    parts = (classifier.mean, classifier.scale, classifier.weight, classifier.bias)
    double = TextClassifier(exact, *(part.double() for part in parts))
    ids, real = rows.batch(range(6), PAD)
    found = gradient_times_input(double, exact, ids, real, y[:6])
    step = 1e-5
    for place in range(ids.shape[1]):
        up, down = (scaled_loss(double, ids, real, y[:6], place, 1 + sign * step) for sign in (1, -1))
        torch.testing.assert_close(found[:, place], (up - down).abs() / (2 * step), rtol=1e-4, atol=1e-9)
    assert (found[~real] < 1e-9).all() and (found[real] > 1e-9).float().mean() > 0.95


def test_texts_do_not_depend_on_their_batch(model, labelled, classifier):
    rows, y = labelled
    ids, real = rows.batch(range(5), PAD)
    together = gradient_times_input(classifier, model, ids, real, y[:5])
    for i in range(5):
        alone = gradient_times_input(classifier, model, *rows.batch([i], PAD), y[i : i + 1])
        torch.testing.assert_close(together[i : i + 1, : alone.shape[1]], alone, rtol=1e-4, atol=1e-6)


def test_attention_averaged_over_the_wrong_axis(model, labelled, classifier):
    """What is averaged over the wrong axis is 1 / T for every token of the text: it could not find the sign."""
    rows, y = labelled
    ids, real = rows.batch(range(len(rows)), PAD)
    words = real & (ids >= SIGN[0])
    found = relative(gradient_times_input(classifier, model, ids, real, y), words)
    sign = words & (ids <= SIGN[1])
    first = torch.where(words, found, -1).argmax(1)
    assert sign.gather(1, first[:, None]).float().mean() > 0.6  # one word in nine, by chance
    assert found[sign].mean() > 2 * found[words & ~sign].mean()
    spread = torch.stack([row[here].std() for row, here in zip(found, words, strict=True)])
    assert spread.min() > 0.1  # 0, were it constant


def test_relative_values_have_mean_one_in_every_text(labelled):
    ids, real = labelled[0].batch(range(20), PAD)
    eligible = real & (ids >= SIGN[0])
    values = torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 20)[:, None]
    found = relative(values, eligible)
    torch.testing.assert_close((found * eligible).sum(1) / eligible.sum(1), torch.ones(20))
    assert relative(torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0, 0, 0]]
    assert torch.isfinite(relative(values, torch.zeros_like(eligible))).all()


def test_the_model_is_left_as_it_was(model, labelled, classifier):
    ids, real = labelled[0].batch(range(3), PAD)
    gradient_times_input(classifier, model, ids, real, labelled[1][:3])
    assert not model.mlm.get_input_embeddings()._forward_hooks
    assert all(p.grad is None for p in model.parameters())


@pytest.fixture(scope="module")
def sources(tiny):
    return sources_of(problem_of(tiny("scores.model_texts=60")))


def test_the_score_of_words_that_tell_the_class_is_higher(sources):
    scores = saliency(sources)
    tokens = sources.tokenizer.convert_ids_to_tokens(range(len(sources.tokenizer)))
    useful = torch.tensor([token.startswith("class") for token in tokens])
    other = torch.tensor([token.startswith(("generic", "distractor")) for token in tokens])
    assert scores.types[useful].mean() > 1.1 * scores.types[other].mean()
    assert max(scores.types.max(), scores.words.nan_to_num(0.0).max()) == 1 and scores.types.min() >= 0


def test_words_and_types_agree_where_every_word_is_one_piece(sources):
    scores = saliency(sources)
    first = torch.from_numpy(sources.lexicon.pieces[:, 0]).long()
    torch.testing.assert_close(scores.words, scores.types[first])


def test_a_type_in_no_text_has_the_mean_of_the_others(sources):
    rows, y = sources.labelled()
    few = replace(sources, labelled=lambda: (rows.take(range(8)), y[:8]))
    scores = saliency(few)
    seen = torch.zeros(len(sources.tokenizer), dtype=torch.bool)
    seen[torch.from_numpy(rows.take(range(8)).flat).long()] = True
    seen &= ~sources.vocabulary.special
    assert 5 < seen.sum() < len(seen) - 6
    torch.testing.assert_close(scores.types[~seen], scores.types[seen].mean().expand(int((~seen).sum())))


def test_labelled_texts_of_one_label_say_nothing(sources):
    rows, y = sources.labelled()
    with pytest.raises(ValueError, match=r"all 60 labelled texts .* same label: raise scores\.model_texts"):
        some_labelled(replace(sources, labelled=lambda: (rows, torch.zeros_like(y))))


def test_labels_that_are_not_among_the_texts_looked_at_are_left_out(sources):
    rows, y = sources.labelled()
    _, numbered = some_labelled(replace(sources, labelled=lambda: (rows, 3 * y + 2)))
    assert numbered.unique().tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["bart", "t5"])
def test_of_an_encoder_decoder_the_encoder_is_looked_at(kind, labelled):
    torch.manual_seed(0)
    small = {"vocab_size": 30, "d_model": 16, "num_layers": 1, "encoder_layers": 1, "decoder_layers": 1, "d_kv": 8}
    heads = {"num_heads": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": PAD}
    config = AutoConfig.for_model(kind, **small, **heads, pad_token_id=PAD)
    model = inner_model(AutoModelForSeq2SeqLM.from_config(config).eval())
    rows, y = labelled
    ids, real = rows.batch(range(6), PAD)
    found = gradient_times_input(fit_classifier(model, rows, y, PAD), model, ids, real, y[:6])
    assert found.shape == ids.shape and (found[~real] == 0).all() and (found[real] > 0).float().mean() > 0.9
