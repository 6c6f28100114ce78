"""Credit: what predicting a word was worth for the task, to first order, averaged over its occurrences.

The outer gradient of all labelled examples is turned into credits of masked tokens of the domain (`credit.domain`); a
word's score is what they say of it. It is the first step of meta-learning, taken from far more tokens than a rollout
has, without regard to what changes when the policy is followed.
"""

import torch
from torch import Tensor

from policylearn.policy.scores import Scores
from policylearn.scores.occurrences import Means, OccurrenceMeans
from policylearn.scores.sources import Sources

CREDIT = "credit"


def credit(sources: Sources) -> Scores:
    """Expected credit of types and words, in standard deviations between them: strength 1 makes a word whose credit is
    one deviation above the mean e times as likely as a mean one. What was never masked has the mean, 0.

    The measurement is that of `diagnose`, along a training under uniform masks; stage "expected" makes it on many
    workers. Where credit is learned or in the prior, `diagnose` goes along this training, by halves, and tells the
    reliability of the means which these scores are shrunk from; else it goes along one under the prior's masks.

    Raises:
        ValueError: there is no task to differentiate.
    """
    if sources.credits is None:
        raise ValueError('scorer "credit" is measured on a task: name it in policy.prior or evaluate.arms of a config')
    means = OccurrenceMeans(sources.vocabulary, sources.lexicon)
    for ids, real, credits in sources.credits():
        means.add(ids, real, credits)
    return expected_scores(means, sources)


def expected_scores(means: OccurrenceMeans, sources: Sources) -> Scores:
    """What the means of all credits say of types and words."""
    types, words = expected(means.types).nan_to_num(0.0), expected(means.words)
    level = "" if types.any() or words.nan_to_num(0.0).any() else ": no more apart than chance lets them, so all are 0"
    return Scores(types, words, f"{counted(means)} {sources.credited()}".strip() + level)


def counted(means: OccurrenceMeans) -> str:
    """Of how much, and from how much, credits are expected; in words."""
    words, types = (int((found.counts > 0).sum()) for found in (means.words, means.types))
    tokens = int(means.types.counts.sum())
    found = [f"{words:,} words"] * bool(words) + [f"{types:,} token types"]
    return f"expected credit of {' and '.join(found)}, from {tokens:,} masked tokens"


def expected(means: Means) -> Tensor:
    """Best linear prediction of every bin's true mean, in standard deviations between bins; NaN where a bin is empty.

    One-way random effects: value = μ + b + e with variance τ² between bins and σ² within, both by the moments of the
    analysis of variance (Searle, Casella & McCulloch, *Variance Components*, 1992, ch. 3). A bin of n values with mean
    m is predicted τ² / (τ² + σ² / n) · (m − μ). Where the bins do not differ more than chance lets them, all are 0.

    >>> means = Means(3)
    >>> means.add(torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), torch.tensor([4.0, 6.0, 4.0, 6.0, -4.0, -6.0, -4.0, -6.0]))
    >>> expected(means)
    tensor([ 0.7047, -0.7047,     nan], dtype=torch.float64)
    """
    n, seen = means.counts.double(), means.counts > 0
    total, bins = n.sum(), seen.sum()
    mean = means.sums.sum() / total
    apart = (means() - mean)[seen]
    between = (n[seen] * apart.square()).sum()
    within = (means.squares.sum() - total * mean.square() - between) / (total - bins).clamp(min=1)
    spread = (between - (bins - 1) * within) / (total - n.square().sum() / total).clamp(min=1e-12)
    found = torch.full_like(n, torch.nan)
    if spread <= 0:
        return found.masked_fill(seen, 0.0)
    found[seen] = apart / (1 + within / (n[seen] * spread)) / spread.sqrt()
    return found
