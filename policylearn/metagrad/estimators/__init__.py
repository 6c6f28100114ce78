"""From masks and an outer loss to a gradient of the policy: three estimators, with p handed in.

    credit          Σ_i m_i/p_i ∂L/∂w_i ∂p_i/∂φ   what predicting token i did; only masked tokens speak, the default
    relaxed         Σ_i ∂L/∂m̃_i ∂p_i/∂φ           ... and what hiding it did to the others; every token speaks
    score_function  (L - baseline) ∇ log P(masks)  whole trainings compared; needs no derivative of L, and many of them
"""

from policylearn.metagrad.estimators.credit import advantages, credit_surrogate, entropy, kl_divergence
from policylearn.metagrad.estimators.score_function import leave_one_out, room_derivatives

__all__ = [
    "advantages",
    "credit_surrogate",
    "entropy",
    "kl_divergence",
    "leave_one_out",
    "room_derivatives",
]
