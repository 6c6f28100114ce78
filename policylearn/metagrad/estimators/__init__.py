"""From masks and an outer loss L to a gradient of the policy.

credit          Σ_i m_i/p_i ∂L/∂w_i ∂p_i/∂φ               what predicting token i did; the default, which centres
                                                          and scales ∂L/∂w first (`advantages`)
relaxed         Σ_i (m_i/p_i ∂L/∂w_i + ∂L/∂h_i) ∂p_i/∂φ   ... and what hiding it did to the prediction of others
score_function  (L - baseline) ∇ log P(masks)             whole trainings compared; no derivative of L, many trainings
"""

from policylearn.metagrad.estimators.credit import advantages, credit_surrogate, entropy, kl_divergence
from policylearn.metagrad.estimators.relaxed import SoftMask, relaxed_parts, relaxed_surrogate
from policylearn.metagrad.estimators.score_function import leave_one_out, mask_room, room_derivatives

__all__ = [
    "SoftMask",
    "advantages",
    "credit_surrogate",
    "entropy",
    "kl_divergence",
    "leave_one_out",
    "mask_room",
    "relaxed_parts",
    "relaxed_surrogate",
    "room_derivatives",
]
