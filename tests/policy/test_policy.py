import numpy as np
import pytest
import torch
from torch import nn

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import TextField, Vocabulary
from policylearn.policy.networks import projected_embedding, token_features
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.policy.scores import Scores

NETWORKS = ["none", "table", "neighbours", "context", "span"]


@pytest.fixture(scope="module")
def texts(tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids with special tokens anywhere, and rows of different lengths, [32, 24] each."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(tokenizer), (32, 24), generator=random)
    return ids, torch.arange(24) < torch.randint(2, 25, (32, 1), generator=random)


def build(prior=None, scores=None, size=9, rate=0.15, p_max=0.9, **settings) -> MaskingPolicy:
    none, zero = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.int8)
    field = TextField(Vocabulary(none, ~none, zero, zero), MaskingConfig(rate=rate, p_max=p_max))
    known = {name: Scores(types) for name, types in (scores or {}).items()}
    no_words = torch.zeros(0, dtype=torch.int64)
    return MaskingPolicy(PolicyConfig(prior=prior or {}, **settings), known, no_words, torch.randn(size, 3), field)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("prior", [(), ("difference",), ("tficf", "difference", "oracle")])
@pytest.mark.parametrize("seed", range(3))
def test_before_learning_the_policy_is_its_prior_to_the_last_bit(make_policy, texts, network, prior, seed):
    policy = make_policy(network, prior, seed)
    assert torch.equal(policy.probabilities(*texts), policy.prior_probabilities(*texts))
    # The prior is really the weighted sum of the scores, and really not all alike.
    strengths = {name: 1.5 + i for i, name in enumerate(prior)}
    by_hand = sum(
        (a * policy.scores.types[sorted(prior).index(name)][texts[0]] for name, a in strengths.items()), 0 * texts[0]
    )
    torch.testing.assert_close(policy(*texts).detach(), by_hand.float())
    assert not prior or float(by_hand.std()) > 1


@pytest.mark.parametrize("network", ["table", "context"])
def test_after_learning_it_is_not(make_policy, texts, network):
    policy = make_policy(network, learned=True)
    assert (policy.probabilities(*texts) - policy.prior_probabilities(*texts)).abs().max() > 0.01


@pytest.mark.parametrize("network", NETWORKS)
def test_the_budget_is_spent_on_eligible_tokens(make_policy, texts, network):
    policy = make_policy(network, learned=True, rate=0.2)
    p, eligible = policy.probabilities(*texts), policy.eligible(*texts)
    n = eligible.sum(1).double()
    torch.testing.assert_close(p.sum(1), torch.where(n > 0, (0.2 * n).clamp(min=1), 0), atol=1e-5, rtol=0)
    assert (p[~eligible] == 0).all() and not eligible[policy.field.special[texts[0]] | ~texts[1]].any()
    assert policy.probabilities(*texts, rate=0.4).sum() > 1.5 * p.sum()


def padded(ids: torch.Tensor, left: int, right: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts [B, T] with random tokens for padding on both sides."""
    random = torch.Generator().manual_seed(seed)
    around = [torch.randint(0, 40, (len(ids), n), generator=random) for n in (left, right)]
    real = torch.zeros(len(ids), left + ids.shape[1] + right, dtype=torch.bool)
    real[:, left : left + ids.shape[1]] = True
    return torch.cat([around[0], ids, around[1]], 1), real


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("left", "right"), [(6, 0), (0, 6), (3, 4)])
def test_padding_of_either_side_and_any_content_changes_no_probability(make_policy, texts, network, left, right):
    policy = make_policy(network, learned=True)
    one, other = (policy.probabilities(*padded(texts[0], left, right, seed)) for seed in (1, 2))
    assert torch.equal(one, other)
    plain = policy.probabilities(*padded(texts[0], 0, 0, 0))
    torch.testing.assert_close(one[:, left : left + plain.shape[1]], plain, atol=1e-6, rtol=0)


def test_the_context_network_would_look_into_padding_if_it_could(make_policy, texts):
    policy = make_policy("context", learned=True)
    (one, real), (other, _) = (padded(texts[0], 3, 4, seed) for seed in (1, 2))
    seen = [policy(ids, torch.ones_like(real))[:, 3:-4] for ids in (one, other)]
    assert (seen[0] - seen[1]).abs().max() > 0.1


def test_neighbours_count_for_networks_that_read_them_and_not_for_the_table(make_policy, texts):
    ids, real = texts[0].clone(), torch.ones_like(texts[1])
    ids[:, 7] = (ids[:, 7] + 1) % 40
    for network, reach in [("table", {7}), ("neighbours", set(range(5, 10))), ("context", set(range(5, 10)))]:
        policy = make_policy(network, learned=True)
        moved = (policy(ids, real) - policy(texts[0], real)).abs().amax(0) > 1e-6
        assert set(moved.nonzero().flatten().tolist()) == reach


def outer(policy: MaskingPolicy, texts) -> torch.Tensor:
    """Some loss that prefers some tokens to others."""
    return (policy.probabilities(*texts) * torch.sin(texts[0].double())).sum()


def test_gradient_reaches_the_table_entry_of_every_eligible_token(make_policy, texts):
    policy = make_policy("table")
    outer(policy, texts).backward()
    touched = torch.zeros_like(policy.field.special)
    touched[texts[0][policy.eligible(*texts)]] = True
    assert torch.equal(policy.network.logits.grad != 0, touched) and 10 < int(touched.sum()) < len(touched)


def test_gradient_reaches_the_output_layer_first_and_the_whole_context_network_after_one_step(make_policy, texts):
    policy = make_policy("context")
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.01)
    outer(policy, texts).backward()
    assert reached(policy) == {"trust", "network.out.weight"}
    optimiser.step()
    optimiser.zero_grad()
    outer(policy, texts).backward()
    assert reached(policy) == set(policy.learned())


def test_trust_is_a_factor_of_the_strength_and_not_of_what_the_network_says(make_policy, texts):
    policy, prior = make_policy(prior=("difference", "tficf"), learned=True), make_policy(prior=("difference", "tficf"))
    with torch.no_grad():
        policy.trust.copy_(torch.tensor([2.0, 0.5]).log())
        said = policy.network(*texts)
    twice_and_half = make_policy(prior=("difference", "tficf"), network="none")
    twice_and_half.strengths.data *= torch.tensor([2.0, 0.5])
    torch.testing.assert_close(policy(*texts), twice_and_half(*texts) + said)
    assert torch.equal(policy.before()(*texts), prior(*texts))


def reached(policy: MaskingPolicy) -> set[str]:
    return {n for n, p in policy.named_parameters() if p.grad is not None and float(p.grad.abs().max()) > 1e-5}


@pytest.mark.parametrize("network", ["table", "context"])
def test_following_the_gradient_improves_the_loss(make_policy, texts, network):
    policy = make_policy(network)
    optimiser = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=0.05)
    before = float(outer(policy, texts).detach())
    for _ in range(20):
        optimiser.zero_grad()
        outer(policy, texts).backward()
        optimiser.step()
    assert float(outer(policy, texts).detach()) < before - 5


@pytest.mark.parametrize("network", NETWORKS)
def test_phi_travels(make_policy, texts, network):
    learned, fresh = make_policy(network, learned=True), make_policy(network)
    phi = learned.learned()
    assert all(not value.requires_grad for value in phi.values()) and bool(phi) == (network != "none")
    assert "strengths" not in phi and "scores" not in phi
    fresh.load_learned(phi)
    assert torch.equal(fresh.probabilities(*texts), learned.probabilities(*texts))
    assert all(p.requires_grad for n, p in fresh.named_parameters() if n in phi)


def test_the_phi_of_another_network_is_refused(make_policy):
    with pytest.raises(AssertionError, match=r"network\.logits"):
        make_policy("table").load_learned(make_policy("context").learned())


def test_networks_start_alike_whatever_the_global_random_state(make_policy):
    torch.manual_seed(1)
    one = make_policy("context").learned()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = make_policy("context").learned()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_prior_without_scores_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"names \['pmi'\], but only \['tficf'\] were scored"):
        build({"pmi": 1.0, "tficf": 1.0}, {"tficf": torch.zeros(9)})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ValueError, match=r"scores \['tficf'\] hold NaN or infinite"):
        build({"tficf": 1.0}, {"tficf": torch.tensor([0.0] * 8 + [bad])})


@pytest.mark.parametrize("rate", [0.0, 0.9, 0.95])
def test_an_impossible_rate_is_refused_and_never_taken_for_the_default(rate):
    ids = torch.arange(9)[None]
    with pytest.raises(ValueError, match=f"rate {rate} must lie between"):
        build(rate=0.15).probabilities(ids, ids >= 0, rate=rate)


def test_a_kernel_without_a_middle_is_refused():
    with pytest.raises(ValueError, match="kernel 4 must be odd"):
        build(network="context", kernel=4)


def test_features_are_standardised_scores_after_principal_components():
    random = torch.Generator().manual_seed(0)
    embedding = torch.randn(200, 6, generator=random) * torch.tensor([9.0, 5.0, 3.0, 1.0, 0.5, 0.1]) + 4
    scores = {"tficf": torch.rand(200, generator=random), "difference": 30 * torch.rand(200, generator=random) - 7}
    features = token_features(embedding, scores, 3)
    assert features.shape == (200, 5) and features.dtype == torch.float32
    torch.testing.assert_close(features.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(5), atol=1e-4, rtol=0)
    assert np.corrcoef(features[:, 3], scores["difference"])[0, 1] > 0.9999
    assert np.corrcoef(features[:, 4], scores["tficf"])[0, 1] > 0.9999
    u, _, _ = np.linalg.svd((embedding - embedding.mean(0)).double().numpy(), full_matrices=False)
    for axis in range(3):
        assert abs(np.corrcoef(features[:, axis], u[:, axis])[0, 1]) > 0.9999


def test_more_dimensions_than_there_are_and_a_constant_score_do_no_harm():
    embedding = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert projected_embedding(embedding, 32).shape == (50, 4)
    features = token_features(embedding, {"constant": torch.ones(50)}, 2)
    assert torch.isfinite(features).all() and (features[:, 2] == 0).all()


def masks(policy, ids, real, epoch=0, seed=0, mask_id=4, **masking) -> torch.Tensor:
    policy.field.masking = policy.masking.model_copy(update=masking)
    return mask_tokens(policy, ids, real, seed, epoch).mask


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
def test_masks_differ_between_epochs_and_seeds_and_repeat_within(make_policy, texts, design):
    policy = make_policy()
    first = masks(policy, *texts, design=design)
    assert torch.equal(first, masks(policy, *texts, design=design))
    assert not torch.equal(first, masks(policy, *texts, epoch=1, design=design))
    assert not torch.equal(first, masks(policy, *texts, seed=1, design=design))


@pytest.mark.parametrize("design", ["systematic", "independent", "explore"])
def test_every_repeat_of_a_word_can_be_masked_alone_and_with_the_others(make_policy, tokenizer, design):
    """A trap: whoever keeps positions by word masks the last occurrence only (10 to 20 % of a text's words)."""
    policy = make_policy("none")
    word, *others = (tokenizer.convert_tokens_to_ids(f"generic_{i:03d}") for i in range(30))
    between = torch.cartesian_prod(torch.tensor(others), torch.tensor(others))
    repeats = torch.full((len(between), 1), word)
    ids = torch.cat([repeats, between[:, :1], repeats, between[:, 1:], repeats], 1)
    real = torch.ones_like(ids, dtype=torch.bool)
    p = policy.probabilities(ids, real).detach()[:, [0, 2, 4]]
    torch.testing.assert_close(p, p[:, :1].expand(-1, 3))
    epochs = 10
    masked = torch.cat([masks(policy, ids, real, epoch, design=design)[:, [0, 2, 4]] for epoch in range(epochs)])
    expected, error = epochs * p.sum(0), (epochs * (p * (1 - p)).sum(0)).sqrt()
    if design != "explore":  # the draws of which are not independent of each other
        assert ((masked.sum(0) - expected).abs() < 4 * error).all()
    assert (masked.sum(0) > 100).all()
    # ... nor are repeats masked all together or not at all.
    alone = [int((masked[:, i] & (masked.sum(1) == 1)).sum()) for i in range(3)]
    assert min(alone) > 50


def test_exploring_takes_other_tokens_every_epoch_until_all_had_their_turn(make_policy, tokenizer):
    policy = make_policy("none", prior=(), rate=0.25)
    ids = torch.randint(5, len(tokenizer), (16, 20), generator=torch.Generator().manual_seed(0))
    real = torch.ones_like(ids, dtype=torch.bool)
    times = [masks(policy, ids, real, epoch, rate=0.25, design="explore", draws=4) for epoch in range(8)]
    assert (sum(m.int() for m in times[:4]) == 1).all() and (sum(m.int() for m in times[4:]) == 1).all()
    assert not torch.equal(times[0], times[4])


def test_masking_builds_no_graph_and_leaves_the_policy_alone(make_policy, texts, tokenizer):
    policy = make_policy("context", learned=True)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    batch = mask_tokens(policy, *texts, 0, 0)
    assert not batch.shown.requires_grad and not batch.labels.requires_grad
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    assert isinstance(policy, nn.Module) and all(p.grad is None for p in policy.parameters())


def span_policy(make_policy, **settings) -> MaskingPolicy:
    return make_policy("span", masking={"unit": "span"}, **settings)


def test_a_network_of_spans_is_its_prior_before_learning_and_spends_the_same_budget_after(make_policy, texts):
    fresh, learned = span_policy(make_policy), span_policy(make_policy, learned=True)
    assert torch.equal(fresh.probabilities(*texts), fresh.prior_probabilities(*texts))
    assert (learned.probabilities(*texts) - learned.prior_probabilities(*texts)).abs().max() > 0.01
    long = learned.eligible(*texts).sum(1) > 16  # in shorter texts a single span may be more than the budget
    p, n = learned.probabilities(*texts)[long], learned.eligible(*texts)[long].sum(1).double()
    lead = learned.units(*texts)[long]
    assert torch.equal(p, p.gather(1, lead))
    at_leads = torch.where(lead == torch.arange(lead.shape[1]), p, 0).sum(1)
    spent = torch.where(at_leads > 1 + 1e-6, p.sum(1) / n, 0.15)
    torch.testing.assert_close(spent, torch.full_like(spent, 0.15), atol=1e-6, rtol=0)


def test_spans_are_cut_anew_in_every_epoch_and_masked_whole(make_policy, texts):
    policy = span_policy(make_policy, learned=True, rate=0.4)
    first, again, other = (mask_tokens(policy, *texts, seed=0, epoch=epoch) for epoch in (0, 0, 1))
    assert torch.equal(first.lead, again.lead) and torch.equal(first.mask, again.mask)
    assert not torch.equal(first.lead, other.lead)
    assert torch.equal(first.mask, first.mask.gather(1, first.lead))
    longest = torch.zeros_like(first.lead).scatter_add(1, first.lead, torch.ones_like(first.lead))
    assert 1 < int(longest.max()) <= policy.masking.span_longest


def test_start_and_end_logits_move_where_spans_are_cut(make_policy, texts):
    """A network that wants spans to begin at one type of token cuts there; geometric spans do not care."""
    policy, ids = span_policy(make_policy, prior=()), texts[0].masked_fill(texts[0] == 20, 21)
    ids[:, 5] = 20
    real = torch.ones_like(ids, dtype=torch.bool)
    before = (policy.units(ids, real)[:, 5] == 5).float().mean()
    with torch.no_grad():
        policy.network.features.zero_()[20] = 1.0
        policy.network.project.weight.fill_(1.0)
        policy.network.context.weight.zero_()
        policy.network.out.weight[0] = 1.0
    eligible = policy.eligible(ids, real)[:, 5]
    after = (policy.units(ids, real)[:, 5] == 5)[eligible].float().mean()
    assert before < 0.9 and after == 1.0


def test_other_units_have_the_logits_of_the_same_network(make_policy, texts):
    policy = span_policy(make_policy, prior=(), learned=True)
    words, start, end, inside = policy.under(unit="token"), *policy.network(*texts).unbind(2)
    assert not words.cuts_spans and words.units(*texts) is None
    torch.testing.assert_close(words(*texts), start + end + inside)
