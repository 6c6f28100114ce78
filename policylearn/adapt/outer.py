"""How good is θ for the task? The outer loss of a window, and the dev score of a rollout."""

from collections.abc import Sequence

from policylearn.adapt import finetune, probe
from policylearn.adapt.chosen import Note
from policylearn.adapt.finetune import FineTuning
from policylearn.adapt.probe import ProbeLoss
from policylearn.adapt.splits import support_and_query
from policylearn.adapt.weight_mask import MaskTuning
from policylearn.models.model import InnerModel
from policylearn.problems.problem import Problem
from policylearn.registry.known import ADAPTATIONS


def outer_problem(problem: Problem, key: Sequence[int], note: Note) -> ProbeLoss | FineTuning | MaskTuning:
    """The outer loss by the adaptation of the config, on training examples drawn by `key`.

    Args:
        problem: data.
        key: integers, not negative.
        note: is told `outer_loss` and `outer_accuracy` of every evaluation.
    """
    config = problem.config.outer
    support, query = support_and_query(config, len(problem.labelled("train")), key)
    return ADAPTATIONS.get(config.adaptation).outer_loss(problem, support, query, key, note)


def dev_score(problem: Problem, model: InnerModel) -> float:
    """Of the ridge probe, see `probe.dev_quality`; of a task without a head `finetune.dev_likelihood`."""
    if problem.kind.readout is None:
        return finetune.dev_likelihood(problem, model)
    return probe.dev_quality(problem, model)
