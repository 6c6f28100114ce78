import pytest
import torch
from scipy import stats

from policylearn.arms.arms import arm_policy
from policylearn.config import MaskingConfig
from policylearn.masking import IGNORED, corrupt, eligible_positions, special_table
from policylearn.masking.designs import independent
from policylearn.masking.keys import mix
from policylearn.policy.policy import mask_tokens, uniform_policy
from policylearn.problems.of_config import problem_of

MASK, V, B, T = 999, 1000, 400, 100


@pytest.fixture(scope="module")
def texts() -> torch.Tensor:
    return torch.randint(5, 900, (B, T), generator=torch.Generator().manual_seed(0))


KEYS, INDEX = mix(torch.arange(1, B + 1)), torch.arange(T).expand(B, T)


def corrupted(ids, mask, **shares):
    return corrupt(ids, mask, KEYS, INDEX, mask_token_id=MASK, vocab_size=V, **shares)


def test_four_fifths_are_hidden_a_tenth_replaced_and_a_tenth_kept(texts):
    seen, _ = corrupted(texts, torch.ones_like(texts, dtype=torch.bool))
    n, same_by_chance = B * T, 0.1 / V
    found = [int((seen == MASK).sum()), int((seen == texts).sum())]
    found.append(n - sum(found))
    expected = [n * (0.8 + same_by_chance), n * (0.1 + same_by_chance), n * (0.1 - 2 * same_by_chance)]
    assert stats.chisquare(found, expected).pvalue > 1e-3
    assert stats.chisquare(found, [n * 0.79, n * 0.105, n * 0.105]).pvalue < 1e-3


def test_what_is_shown_does_not_hang_on_the_coin_that_chose_a_token():
    mask = independent(torch.full((B, T), 0.2, dtype=torch.float64), KEYS, INDEX)
    seen, _ = corrupted(torch.full((B, T), -1), mask)
    found = [int((seen[mask] == MASK).sum()), int((seen[mask] == -1).sum())]
    expected = mask.sum().item() * torch.tensor([0.8, 0.1, 0.1], dtype=torch.float64)
    assert stats.chisquare([*found, int(mask.sum()) - sum(found)], expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("hidden", "swapped"), [(0.8, 0.1), (0.0, 1.0)])
def test_replacements_are_drawn_evenly_from_the_whole_vocabulary(texts, hidden, swapped):
    everything = torch.ones_like(texts, dtype=torch.bool)
    seen, _ = corrupted(torch.full_like(texts, -1), everything, mask_share=hidden, random_share=swapped)
    drawn = seen[(seen != -1) & (seen != MASK)]
    assert int(drawn.min()) >= 0 and int(drawn.max()) < V and len(drawn) > 0.09 * B * T
    # MASK is the last of the vocabulary, and left out above: 999 values in 27 bins of 37.
    assert stats.chisquare((drawn // 37).bincount(minlength=27).numpy()).pvalue > 1e-3


def test_replacements_are_drawn_evenly_from_the_tokens_that_are_named(texts, tiny):
    everything, named = torch.ones_like(texts, dtype=torch.bool), torch.tensor([7, 9, 800])
    seen, _ = corrupted(torch.full_like(texts, 5), everything, mask_share=0.0, random_share=0.5, choices=named)
    counts = [int((seen == i).sum()) for i in named]
    assert int((seen == 5).sum()) == texts.numel() - sum(counts)
    assert stats.chisquare(counts).pvalue > 1e-3
    problem = problem_of(tiny("masking.random_token_ids=[20,21]", "masking.mask_share=0.0", "masking.random_share=1.0"))
    ids, real = problem.domain.batch(range(8), problem.tokenizer.pad_token_id)
    batch = mask_tokens(arm_policy(problem, "random"), ids, real, seed=0, epoch=0)
    assert {*batch.shown[batch.mask].tolist()} == {20, 21}


def test_a_token_that_is_not_there_is_not_drawn(tiny):
    given = [20, 31000]
    with pytest.raises(ValueError, match=r"masking\.random_token_ids has 31000, but ids end at"):
        _ = problem_of(
            tiny(f"masking.random_token_ids={given}", "domain.path=none.txt")
        ).domain  # before any text is read
    own = problem_of(tiny(f"evaluate.custom={{mine={{masking={{random_token_ids={given}}}}}}}"))
    with pytest.raises(ValueError, match=r"masking\.random_token_ids has 31000, but ids end at"):
        arm_policy(own, "mine")
    with pytest.raises(ValueError, match=r"masking\.random_token_ids has 31000, but ids end at"):
        uniform_policy(own.tokenizer, MaskingConfig(random_token_ids=given))


@pytest.mark.parametrize(("hidden", "swapped"), [(1.0, 0.0), (0.0, 0.0)])
def test_the_shares_can_be_set(texts, hidden, swapped):
    seen, labels = corrupted(texts, torch.ones_like(texts, dtype=torch.bool), mask_share=hidden, random_share=swapped)
    assert torch.equal(seen, torch.full_like(texts, MASK) if hidden else texts)
    assert torch.equal(labels, texts)


def test_labels_stand_on_masked_positions_only_and_are_minus_100_elsewhere(texts):
    mask = torch.rand(texts.shape, generator=torch.Generator().manual_seed(1)) < 0.15
    before = texts.clone()
    seen, labels = corrupted(texts, mask)
    assert IGNORED == -100 == torch.nn.CrossEntropyLoss().ignore_index
    assert torch.equal(labels[mask], texts[mask]) and (labels[~mask] == -100).all()
    assert not (labels == -1).any()
    assert torch.equal(seen[~mask], texts[~mask]) and (seen[mask] != texts[mask]).any()
    assert torch.equal(texts, before) and seen.dtype == labels.dtype == texts.dtype


def test_what_a_masked_token_becomes_does_not_depend_on_what_else_is_masked(texts):
    random = torch.Generator().manual_seed(4)
    few, more = (torch.rand(texts.shape, generator=random) < share for share in (0.1, 0.5))
    one, other = corrupted(texts, few)[0], corrupted(texts, few | more)[0]
    assert torch.equal(one[few], other[few]) and torch.equal(one[~few], texts[~few])


def test_a_batch_with_nothing_masked_stays_as_it_is(texts):
    seen, labels = corrupted(texts, torch.zeros_like(texts, dtype=torch.bool))
    assert torch.equal(seen, texts) and (labels == -100).all()


def test_texts_and_masks_need_not_lie_in_one_piece(texts):
    mask = torch.rand(T, B, generator=torch.Generator().manual_seed(5)).T < 0.3
    turned = texts.T.contiguous().T
    for got, wanted in zip(corrupted(turned, mask), corrupted(texts, mask.contiguous()), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
def test_special_tokens_and_padding_are_never_masked(design, make_policy, tokenizer):
    policy = make_policy(rate=0.4, masking={"design": design})
    # Special tokens in every place, where a tokenizer would never put them, and a policy that longs for them.
    policy.scores.types[:, policy.field.special] = 30.0
    ids = torch.randint(0, len(tokenizer), (200, 30), generator=torch.Generator().manual_seed(2))
    real = torch.arange(30) < torch.randint(1, 31, (200, 1), generator=torch.Generator().manual_seed(3))
    for epoch in range(4):
        batch = mask_tokens(policy, ids, real, 0, epoch)
        seen, labels = batch.shown, batch.labels
        untouchable = policy.field.special[ids] | ~real
        assert (labels[untouchable] == -100).all() and torch.equal(seen[untouchable], ids[untouchable])
        assert (labels != -100).sum() > 0.3 * policy.eligible(ids, real).sum()


def test_eligible_positions_are_real_and_not_special():
    table = special_table([0, 2, 3, -1, 50], 9)
    assert table.nonzero().flatten().tolist() == [0, 2, 3]
    ids, real = torch.tensor([[2, 7, 8, 3, 7]]), torch.tensor([[1, 1, 1, 1, 0]])
    assert eligible_positions(ids, real, table).tolist() == [[False, True, True, False, False]]
