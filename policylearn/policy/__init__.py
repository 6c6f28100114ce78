"""The policy: scores and features of a text → inclusion probabilities → masked text."""

from policylearn.policy.policy import MaskingPolicy, mask_tokens

__all__ = ["MaskingPolicy", "mask_tokens"]
