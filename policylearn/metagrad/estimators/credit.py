"""Estimator `credit`: what predicting each masked token was worth, and two numbers about policies."""

from collections.abc import Sequence

import torch
from torch import Tensor

EPS = 1e-12


def advantages(outer_gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Outer gradients ∂(outer loss)/∂w_i less their mean, over their root mean square.

    Subtracting a constant is a free control variate: Σp is fixed, so the expected policy gradient stays as it was.
    The mean over the M drawn tokens is not quite a constant and biases the gradient by O(1/M), with hundreds of
    tokens in a window far below its noise. The scale lets windows early and late in a rollout count alike.

    >>> advantages([torch.tensor([1.0, 3.0])])
    (tensor([-1.,  1.]),)
    """
    everything = torch.cat(list(outer_gradients))
    scaled = (everything - everything.mean()) / spread(outer_gradients)
    return scaled.split([len(g) for g in outer_gradients])


def spread(outer_gradients: Sequence[Tensor]) -> Tensor:
    """Standard deviation of all outer gradients of a window, at least EPS.

    Raises:
        FloatingPointError: it is beyond all numbers, divided by which everything would be zero.

    >>> spread([torch.tensor([1.0]), torch.tensor([3.0])])
    tensor(1.)
    """
    everything = torch.cat(list(outer_gradients))
    squares = (everything - everything.mean()).square().sum() / max(1, len(everything))
    if not torch.isfinite(squares):
        raise FloatingPointError(
            "outer gradients grow beyond all numbers on their way back: lower inner.window or inner.learning_rate"
        )
    return squares.sqrt().clamp(min=EPS)


def credit_surrogate(p: Tensor, mask: Tensor, gradient: Tensor) -> Tensor:
    """A scalar whose gradient in φ is the Horvitz-Thompson policy gradient of one masked batch, per masked token.

    With w_i = m_i · p_i / stop_gradient(p_i) the chain rule gives Σ_i (∂L/∂w_i) (∂p_i/∂φ) / p_i over the masked
    tokens, whose mean over masks is Σ_i (∂L/∂w_i) ∂p_i/∂φ over all of them (Horvitz & Thompson, 1952). It is divided
    by the number of masked tokens to be expected, Σ p: that is a constant, while the M of a random size would not be,
    and would weigh masks of few tokens more.

    Args:
        p: [B, T] inclusion probabilities, differentiable in φ.
        mask: [B, T] boolean, the M tokens that were drawn with them.
        gradient: [M], ∂(outer loss)/∂w_i or its advantage.

    >>> p = torch.tensor([[0.5, 0.25]], requires_grad=True)
    >>> credit_surrogate(p, torch.tensor([[True, True]]), torch.tensor([1.0, -1.0])).backward()
    >>> p.grad
    tensor([[ 2.6667, -5.3333]])
    """
    drawn = p[mask]
    return (gradient * drawn / drawn.detach()).sum() / expected_size(p)


def expected_size(p: Tensor) -> Tensor:
    """Σ p, which no φ changes; without a gradient.

    >>> expected_size(torch.tensor([[0.5, 0.25]], requires_grad=True))
    tensor(0.7500)
    """
    return p.detach().sum().clamp(min=EPS)


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Mean of KL(Bernoulli(p_i) ‖ Bernoulli(q_i)), in nats.

    >>> kl_divergence(torch.tensor([0.5]), torch.tensor([0.5]))
    tensor(0.)
    """
    p, q = p.clamp(EPS, 1 - EPS), q.clamp(EPS, 1 - EPS)
    return (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()


def entropy(p: Tensor) -> Tensor:
    """Mean entropy of Bernoulli(p_i), in nats.

    >>> round(entropy(torch.tensor([0.5, 0.5])).item(), 4)
    0.6931
    """
    return (torch.special.entr(p) + torch.special.entr(1 - p)).mean()
