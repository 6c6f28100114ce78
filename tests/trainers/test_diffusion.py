"""`PolicyMDLM` and `PolicyCorruption` have the signatures of what they stand in front of; what they do there
is looked at by tests/peers/test_dllm.py and test_nemo.py, where these are at hand."""

import inspect
from copy import deepcopy

import pytest
import torch

from policylearn.trainers import PolicyCorruption, PolicyMDLM

# dllm at ca176752 (dllm/core/trainers/mdlm.py), NeMo AutoModel at 36044ad3 (nemo_automodel/recipes/dllm/strategy.py).
COMPUTE_LOSS = {"self": 1, "model": 1, "inputs": 1, "return_outputs": 1, "kwargs": 4}
APPLY_CORRUPTION = {
    "self": 1,
    "input_ids": 1,
    "loss_mask": 1,
    "mask_token_id": 1,
    "eps": 3,
    "block_size": 3,
    "half_life_ratio": 3,
    "generator": 3,
}


def shape_of(function):
    """Name → kind of each parameter: 1 by place or name, 3 by name, 4 further names."""
    return {name: int(parameter.kind) for name, parameter in inspect.signature(function).parameters.items()}


class Trainer:
    """What `PolicyMDLM` asks of the trainer that it stands in front of, before there is a batch."""

    def __init__(self, processing_class):
        self.processing_class = processing_class


class OfAPolicy(PolicyMDLM, Trainer):
    pass


def test_a_policy_of_another_tokenizer_is_refused(make_policy, tokenizer):
    policy, other = make_policy("none"), deepcopy(tokenizer)
    assert OfAPolicy(processing_class=tokenizer, policy=policy).policy is policy
    other.mask_token = "generic_003"
    said = rf"masks with id {other.mask_token_id}, the policy with {tokenizer.mask_token_id}: take the tokenizer that"
    with pytest.raises(ValueError, match=said):
        OfAPolicy(processing_class=other, policy=policy)
    ids, strategy = torch.tensor([[2, 20, 21, 3]]), PolicyCorruption()
    strategy.policy = policy
    settings = {"eps": 1e-3, "block_size": None, "half_life_ratio": None}
    assert strategy.apply_corruption(ids, ids > 3, tokenizer.mask_token_id, **settings)[1].any()
    with pytest.raises(ValueError, match=said):
        strategy.apply_corruption(ids, ids > 3, other.mask_token_id, **settings)


@pytest.mark.parametrize(
    ("function", "expected"),
    [(PolicyMDLM.compute_loss, COMPUTE_LOSS), (PolicyCorruption.apply_corruption, APPLY_CORRUPTION)],
)
def test_signatures(function, expected):
    assert shape_of(function) == expected
    optional = {name for name, p in inspect.signature(function).parameters.items() if p.default is not p.empty}
    assert optional <= {"return_outputs", "generator"} and len(optional) == 1
