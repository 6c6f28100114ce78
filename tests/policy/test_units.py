"""Words, spans and collocations through the whole of masking: policy, budget, design, corruption."""

import numpy as np
import pytest
import torch

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import TextField, leads, sizes, vocabulary, word_keys, word_starts
from policylearn.masking.collocations import ngram_keys
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.policy.scores import Scores

UNITS = ["token", "word", "span", "collocation"]


@pytest.fixture(scope="module")
def texts(wordpiece):
    """24 texts of 0 to 40 words of 1 to 4 pieces, padded on the right: input_ids and real, [24, T] each."""
    rng = np.random.default_rng(0)

    def word():
        return "".join(rng.choice(list("bdfgklmn")) + rng.choice(list("aeiou")) for _ in range(rng.integers(1, 5)))

    texts = [
        " ".join(word() + rng.choice(["", "", " ,", " ."]) for _ in range(n))
        for n in [0, 1, 2, *rng.integers(3, 41, 21)]
    ]
    batch = wordpiece(texts, padding=True, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"].bool()


@pytest.fixture(scope="module")
def make(wordpiece, texts):
    """A policy over the syllables with random scores of types and of the words that the texts hold."""

    def build(unit="token", prior=("difference",), words=True, seed=0, **masking):
        random, size = torch.Generator().manual_seed(seed), len(wordpiece)
        tables, settings = vocabulary(wordpiece), MaskingConfig(unit=unit, **masking)
        keys, starts = words_of(texts, tables)
        lexicon = keys[starts & ~tables.special[texts[0]]].unique()[::2]
        longest = int(texts[1].sum(1).argmax())
        pairs = list(ngram_keys(keys[longest][starts[longest]], 2))[1].unique()[:20]
        field = TextField(tables, settings, pairs, 2)
        types, known = torch.randn(size, generator=random), torch.randn(len(lexicon), generator=random)
        scores = {"difference": Scores(types, known if words else None)}
        config = PolicyConfig(prior=dict.fromkeys(prior, 1.5), network="table")
        return MaskingPolicy(config, scores, lexicon, torch.zeros(size, 3), field)

    return build


def words_of(texts, tables):
    starts = word_starts(*texts, tables)
    return word_keys(texts[0], leads(starts)), starts


def masks(policy, texts, epoch=0, seed=0, **options):
    return mask_tokens(policy, *texts, seed=seed, epoch=epoch, **options).mask


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_masked_whole_or_not_at_all_and_nothing_else_is(make, texts, unit, design):
    policy = make(unit, design=design, rate=0.3)
    for epoch in range(3):
        batch = mask_tokens(policy, *texts, 0, epoch)
        assert (batch.lead is None) == (unit == "token")
        lead = batch.lead if batch.lead is not None else torch.arange(texts[0].shape[1]).expand_as(texts[0])
        assert torch.equal(batch.mask, batch.mask.gather(1, lead))
        assert not (batch.mask & ~policy.eligible(*texts)).any()


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.4, 0.8])
@pytest.mark.parametrize("unit", UNITS)
def test_every_text_with_an_eligible_token_has_one_masked(make, texts, unit, rate):
    policy = make(unit, rate=rate, p_max=0.9)
    has_any = policy.eligible(*texts).any(1)
    assert not has_any.all() and has_any.any()
    for epoch in range(5):
        assert torch.equal(masks(policy, texts, epoch).any(1), has_any)


@pytest.mark.parametrize("unit", UNITS)
def test_as_many_tokens_are_masked_as_if_they_were_masked_one_by_one(make, texts, unit):
    """... on average: the number of units is fixed, that of tokens goes with the lengths of those drawn."""
    policy = make(unit, rate=0.2)
    long = policy.eligible(*texts).sum(1) >= 60
    expected = 0.2 * policy.eligible(*texts)[long].sum()
    epochs = 60
    drawn = np.array([int(masks(policy, texts, epoch)[long].sum()) for epoch in range(epochs)])
    error = drawn.std(ddof=1) / epochs**0.5
    assert abs(drawn.mean() - expected) < max(4 * error, 1e-6 * expected + 1)
    assert drawn.std() < 0.25 * expected


@pytest.mark.parametrize("unit", UNITS)
def test_inclusion_probabilities_are_those_of_the_policy(make, texts, unit):
    """Spans are cut anew each time, and their probabilities differ; they are compared cut by cut."""
    policy = make(unit, rate=0.2)
    hits, p, epochs = torch.zeros(texts[0].shape), torch.zeros(texts[0].shape), 60
    for epoch in range(epochs):
        batch = mask_tokens(policy, *texts, 0, epoch)
        hits += batch.mask
        p += policy.probabilities(*texts, lead=batch.lead).detach()
    inner = (p > 0) & (p < epochs)
    z = (hits - p)[inner] / (p * (1 - p / epochs)).clamp(min=1e-9).sqrt()[inner]
    assert float(z.abs().max()) < 6 and float(z.square().mean()) < 1.3
    # ... which another policy's are not.
    other = make(unit, rate=0.2, seed=1).probabilities(*texts).detach() * epochs
    assert float(((hits - other)[inner] / (p * (1 - p / epochs)).sqrt()[inner]).square().mean()) > 5


@pytest.mark.parametrize("unit", UNITS)
def test_a_mask_depends_on_seed_epoch_and_the_examples_own_tokens_alone(make, texts, unit):
    policy = make(unit)
    together = masks(policy, texts)
    ids, real = texts
    for row in range(0, len(ids), 7):
        n = int(real[row].sum())
        alone = ids[row : row + 1, :n], real[row : row + 1, :n]
        assert torch.equal(masks(policy, alone)[0], together[row, :n])
        left = torch.nn.functional.pad(alone[0], (5, 2), value=9), torch.nn.functional.pad(alone[1], (5, 2))
        assert torch.equal(masks(policy, left)[0, 5 : 5 + n], together[row, :n])
    assert not torch.equal(together, masks(policy, texts, epoch=1))
    assert not torch.equal(together, masks(policy, texts, seed=1))


@pytest.mark.parametrize("unit", ["span", "collocation"])
def test_longer_units_join_whole_words(make, texts, unit):
    policy = make(unit, rate=0.2)
    roomy = policy.eligible(*texts).sum(1) >= 20  # a fifth of them is as long as the longest word
    words, units = (find(*texts)[roomy] for find in (policy.field.words, policy.field.units))
    assert torch.equal(units, units.gather(1, words)) and int((sizes(units) > 0).sum()) < int((sizes(words) > 0).sum())


def test_a_token_has_the_score_of_its_word_and_else_of_its_type(make, texts):
    policy = make()
    keys, starts = words_of(texts, policy.field.vocabulary)
    lead = leads(starts)
    logits, types = policy(*texts), 1.5 * policy.scores.types[0][texts[0]]
    of_word = torch.isin(keys.gather(1, lead), policy.scores.lexicon)
    assert of_word.any() and not of_word[policy.eligible(*texts)].all()
    assert torch.equal(logits[~of_word], types[~of_word])
    assert torch.equal(logits[of_word], logits.gather(1, lead)[of_word])
    by_key = dict(zip(policy.scores.lexicon.tolist(), policy.scores.words[0].tolist(), strict=True))
    expected = torch.tensor([1.5 * by_key[key] for key in keys.gather(1, lead)[of_word].tolist()])
    torch.testing.assert_close(logits[of_word].detach(), expected)


def test_words_that_are_not_known_fall_back_to_their_types(make, texts):
    policy, types_only = make(), make(words=False)
    policy.scores.words.fill_(torch.nan)
    assert torch.equal(policy(*texts), types_only(*texts)) and not len(types_only.scores.lexicon)


def test_ranks_weigh_words_as_the_released_code_does(make, texts):
    plain, ranked = make(prior=("difference",)), make(prior=("difference:rank",))
    scores, eligible = plain(*texts).detach() / 1.5, plain.eligible(*texts)
    starts = word_starts(*texts, plain.field.vocabulary) & eligible
    logits = ranked(*texts).detach() / 1.5
    for row in range(len(texts[0])):
        of_words = scores[row][starts[row]]
        n = len(of_words)
        for position in starts[row].nonzero().flatten().tolist():
            rank = int((of_words > scores[row, position]).sum())
            assert float(logits[row, position].exp()) == pytest.approx((n - rank) / n, abs=1e-6)


def test_scores_that_come_with_the_text_replace_the_table_where_they_are_known(make, texts):
    policy = make()
    given = torch.full(texts[0].shape, torch.nan)
    given[:, ::2] = 7.0
    logits = policy(*texts, {"difference": given, "another": given})
    assert (logits[:, ::2] == 1.5 * 7.0).all() and torch.equal(logits[:, 1::2], policy(*texts)[:, 1::2])
    assert not torch.equal(masks(policy, texts), masks(policy, texts, columns={"difference": given}))


def test_the_rate_follows_its_schedule(make, texts):
    policy = make("word", rate={"kind": "linear", "rates": [0.4, 0.1]})
    shares = [float(masks(policy, texts, progress=t).sum() / policy.eligible(*texts).sum()) for t in (0.0, 0.5, 1.0)]
    assert shares[0] == pytest.approx(0.4, abs=0.03) and shares[1] == pytest.approx(0.25, abs=0.03)
    assert shares[2] < 0.15
