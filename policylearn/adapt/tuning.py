"""Classifiers that are trained on top of an encoder: all of it fine-tuned, or masks of its weights learned.

Heads start from the ridge solution on frozen features (linear probing, then fine-tuning: Kumar et al., ICLR 2022), so
that the first steps do not spoil the features for a head that knows nothing.
"""

import copy

import numpy as np
import torch
from torch import Tensor

from policylearn.adapt.finetune import Classifier, ridge_head
from policylearn.adapt.outer import extract
from policylearn.adapt.training import adamw, train_classifier
from policylearn.messages.watch import UNSEEN_PROGRESS, Progress
from policylearn.models.model import Elsewhere, Features, InnerModel
from policylearn.problem import Problem
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import binarise, initial_scores, masked
from policylearn.weight_masks.selection import maskable


def tune(
    problem: Problem, model: InnerModel, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS
) -> tuple[float, Classifier]:
    """A copy of the encoder with its head, fine-tuned on `picked` training examples (indices, [N]), and its dev score.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    config = problem.config.evaluate.finetune
    tuned = Classifier(copy.deepcopy(model), *_ridge_head(problem, model, picked))
    optimizer = adamw(tuned, config)
    return train_classifier(problem, tuned, optimizer, config, picked, seed, progress), tuned


def learn_masks(
    problem: Problem, model: InnerModel, picked: np.ndarray, seed: int, progress: Progress = UNSEEN_PROGRESS
) -> tuple[float, MaskedClassifier]:
    """A classifier under masks of the encoder, which stays as it is, learned from `picked` training examples (indices,
    [N]), and its dev score.

    Raises:
        FloatingPointError: the loss became NaN or infinite.
    """
    config = problem.config.evaluate.weight_mask
    scores = initial_scores(maskable(model, config.first_layer), config.sparsity, seed)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    masks = {name: binarise(m).to(weights[name]) for name, m in scores.items()}
    start = Elsewhere(model, masked(weights, masks))
    tuned = MaskedClassifier(model, scores, *_ridge_head(problem, start, picked))
    optimizer = torch.optim.Adam(tuned.parameters(), lr=config.learning_rate)
    return train_classifier(problem, tuned, optimizer, config, picked, seed, progress), tuned


def _ridge_head(problem: Problem, features: Features, picked: np.ndarray) -> tuple[Tensor, Tensor]:
    train = problem.examples("train")
    with torch.no_grad():
        x = extract(features, train, picked, problem.tokenizer.pad_token_id)
    return ridge_head(x, train.y[picked].to(x.device), len(problem.labels))
