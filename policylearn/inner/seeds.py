"""Seeds of the models that are trained, of their data and masks: whose are from where on.

    0 and on                    trials of `evaluation`
    1 000 000 · (s + 1) and on  rollouts of learn.seed = s, round by round
    200 000 000 and on          trainings that credits are taken from
    250 000 000 and on          masks of the texts that are credited
    300 000 000 + 1 000 000 · s and on  models that stage "strength" trains
    400 000 000 + 1 000 000 · s and on  models that stage "outcomes" trains, and the changes they are trained under
    500 000 000 and on          models trained under changed policies, and what is drawn for these

So nothing is compared on a training that something was learned from, and no text is credited under the mask that it was
trained under, as long as a run has less than a million of each and learn.seed is at most 99: models for outcomes of 100
have seeds of those under changed policies, as those for strength of 200; rollouts of 199 have seeds of trainings for
credits, those of 249, 299, 399 and 499 of the lines below it.
"""

from policylearn.config import Config

ROLLOUT_SEEDS = 1_000_000
"""For every `learn.seed`, and as many below them for trials."""
TRAINING_SEED, MASK_SEED = 200_000_000, 250_000_000
"""Of the first training for credits, the next having the next, and of the masks of credited texts."""
STRENGTH_SEED = 300_000_000
"""Of the first model trained for stage "strength"."""
OUTCOME_SEED = 400_000_000
"""Of the first pair of models trained for stage "outcomes"."""
VALIDITY_SEED = 500_000_000
"""Of the first model trained under a changed policy."""
SAMPLE_BITS = 32
"""What is above them in the seed of masks tells the trainings of one rollout apart; its own seed is below, for a
`learn.seed` of at most 4293."""


def first_seed_of(first: int, config: Config) -> int:
    """Of a stage's models: `first` is `STRENGTH_SEED` or `OUTCOME_SEED`, and every `learn.seed` is as far from the one
    before as rollouts are.

    >>> first_seed_of(OUTCOME_SEED, Config())
    400000000
    """
    return first + ROLLOUT_SEEDS * config.learn.seed


def rollout_seeds(config: Config, number: int) -> list[int]:
    """Seeds of one round's rollouts: a function of config and round alone, so that resuming repeats nothing.

    >>> rollout_seeds(Config(), 2)
    [1000004, 1000005]
    """
    first = ROLLOUT_SEEDS * (config.learn.seed + 1) + number * config.learn.rollouts
    return list(range(first, first + config.learn.rollouts))
