import pytest
import torch

from policylearn.config import PolicyConfig
from policylearn.masking import word_keys
from policylearn.policy.average import average_policies
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores

BOTH = pytest.mark.parametrize("network", ["none", "table"])


@pytest.fixture(scope="module")
def texts(tokenizer):
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(0, len(tokenizer), (16, 24), generator=random)
    return ids, torch.arange(24) < torch.randint(2, 25, (16, 1), generator=random)


@pytest.fixture
def of_words(make_policy, tokenizer):
    """A policy that knows some words of one and two pieces, of one scorer, and one by rank."""

    def make(seed, words):
        random, like = torch.Generator().manual_seed(seed), make_policy()
        keys = [word_keys(torch.tensor([word]), torch.zeros(1, len(word), dtype=torch.int64))[0, 0] for word in words]
        lexicon, order = torch.stack(keys).sort()
        known = Scores(torch.randn(len(tokenizer), generator=random), torch.randn(len(words), generator=random)[order])
        plain = Scores(torch.randn(len(tokenizer), generator=random))
        config = PolicyConfig(prior={"credit": 2.0, "idf:rank": 0.5}, network="none")
        return MaskingPolicy(config, {"credit": known, "idf": plain}, lexicon, torch.zeros(0, 0), like.field)

    return make


@BOTH
def test_logits_are_the_mean_of_all(make_policy, texts, network):
    priors = {"a": ("difference",), "b": ("tficf", "difference"), "c": ()}
    given = {k: make_policy(network, prior, i, learned=True) for i, (k, prior) in enumerate(priors.items())}
    found = average_policies(given)
    torch.testing.assert_close(found(*texts), sum(policy(*texts) for policy in given.values()) / 3)
    torch.testing.assert_close(average_policies(given, 3.0)(*texts), 3 * found(*texts))
    assert found.network is None and set(found.names) >= {"a/difference", "b/difference", "b/tficf"}
    assert torch.equal(found.probabilities(*texts), found.prior_probabilities(*texts))


def test_words_that_one_knows_and_another_does_not(of_words, tokenizer):
    one, other = [(7,), (8, 9)], [(8, 9), (10,), (11,)]
    given = {"one": of_words(0, one), "other": of_words(1, other)}
    found, ids = average_policies(given), torch.arange(5, 29)[None]
    real = torch.ones_like(ids, dtype=torch.bool)
    torch.testing.assert_close(found(ids, real), (given["one"](ids, real) + given["other"](ids, real)) / 2)
    assert len(found.scores.lexicon) == 4 and found.names == [
        "one/credit",
        "one/idf:rank",
        "other/credit",
        "other/idf:rank",
    ]


def test_a_mean_of_one_policy_with_itself_is_that_policy(make_policy, texts):
    policy = make_policy("table", ("difference",), learned=True)
    found = average_policies({"a": policy, "b": policy})
    torch.testing.assert_close(found.probabilities(*texts), policy.probabilities(*texts), atol=1e-6, rtol=0)


def test_what_has_no_mean_is_refused(make_policy):
    policy = make_policy("table")
    for wanted, given in [
        ("takes two policies or more, got 1", {"a": policy}),
        ("the name 'a/b' of a policy", {"a/b": policy, "c": policy}),
        ("a has masking.rate = 0.15, b 0.3", {"a": policy, "b": make_policy("table", rate=0.3)}),
        ('b has policy.network = "context", whose logits are no table', {"a": policy, "b": make_policy("context")}),
        ("b takes numbers of 'entity' that come with", {"a": policy, "b": make_policy("none", ("entity",))}),
        ("b takes numbers of 'entity:rank' that come", {"a": policy, "b": make_policy("none", ("entity:rank",))}),
        ("b takes numbers of 'amlm' that come with", {"a": policy, "b": make_policy("none", ("amlm",))}),
        ("b takes numbers of 'block' that come with", {"a": policy, "b": make_policy("none", ("block",))}),
    ]:
        with pytest.raises(ValueError, match=wanted):
            average_policies(given)
