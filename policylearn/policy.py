"""The masking policy: which tokens of a text are worth predicting.

    logit_i = Σ_h a_h · score_h(token_i) + g_φ(features_i),      p = budget(logits, rate)

The last layer of g starts at zero: before any learning the policy *is* the prior it was built from.
"""

import torch
from torch import Tensor, nn

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import budget, corrupt, draw_mask, eligible_positions, example_keys, positions


class MaskingPolicy(nn.Module):
    """Inclusion probabilities for every eligible token of a batch.

    Args:
        config: prior strengths and the kind of network.
        scores: scorer name → [V] real scores per token id; must hold every name in `config.prior`.
        features: [V, F] frozen features of token types, see `token_features`; only the "context" network
            looks at them.
        special: [V] boolean, ids never masked.
        rate, p_max: the budget, see `masking.budget`.

    Raises:
        ValueError: a scorer named in the prior has no scores, or a score is not finite.
    """

    def __init__(
        self,
        config: PolicyConfig,
        scores: dict[str, Tensor],
        features: Tensor,
        special: Tensor,
        rate: float,
        p_max: float,
    ) -> None:
        super().__init__()
        if missing := set(config.prior) - set(scores):
            raise ValueError(f"policy.prior names {sorted(missing)}, but only {sorted(scores)} were scored")
        self.config, self.rate, self.p_max = config, rate, p_max
        names = sorted(config.prior)
        table = torch.stack([scores[n] for n in names]) if names else torch.zeros(0, len(special))
        if not torch.isfinite(table).all():
            raise ValueError(f"scores {names} hold NaN or infinite values")
        self.register_buffer("scores", table.float())
        self.register_buffer("special", special.clone())
        self.strengths = nn.Parameter(torch.tensor([config.prior[n] for n in names]), requires_grad=False)
        self.network = _build_network(config, len(special), features)

    scores: Tensor
    special: Tensor

    def prior_logits(self, input_ids: Tensor) -> Tensor:
        """Σ_h a_h · score_h, [B, T]."""
        return torch.einsum("h,hbt->bt", self.strengths, self.scores[:, input_ids])

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """Logits [B, T] for token ids [B, T]; what stands in padding (where not `real`) changes nothing."""
        prior = self.prior_logits(input_ids)
        return prior if self.network is None else prior + self.network(input_ids, real)

    def eligible(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """Positions that may be masked, boolean [B, T]."""
        return eligible_positions(input_ids, real, self.special)

    def probabilities(self, input_ids: Tensor, real: Tensor, rate: float | None = None) -> Tensor:
        """Inclusion probabilities [B, T] float64, Σ = rate · n per row, differentiable in φ.

        Args:
            input_ids: [B, T].
            real: [B, T], not padding.
            rate: another rate than the policy's own.
        """
        rate = self.rate if rate is None else rate
        return budget(self(input_ids, real), self.eligible(input_ids, real), rate, self.p_max)

    def prior_probabilities(self, input_ids: Tensor, real: Tensor) -> Tensor:
        """What `probabilities` was before any learning."""
        return budget(self.prior_logits(input_ids), self.eligible(input_ids, real), self.rate, self.p_max)

    def learned(self) -> dict[str, Tensor]:
        """φ: the trainable tensors by name, detached."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_learned(self, phi: dict[str, Tensor]) -> None:
        """Set φ, in place."""
        own = {name: p for name, p in self.named_parameters() if p.requires_grad}
        assert own.keys() == phi.keys(), f"φ has {sorted(phi)}, the policy {sorted(own)}"
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(phi[name])


def mask_tokens(
    policy: MaskingPolicy,
    input_ids: Tensor,
    real: Tensor,
    masking: MaskingConfig,
    mask_token_id: int,
    seed: int,
    epoch: int,
) -> tuple[Tensor, Tensor]:
    """Text to masked text in four steps: keys, probabilities, design, corruption.

    Args:
        policy: π_φ.
        input_ids: [B, T].
        real: [B, T] boolean, not padding.
        masking: design and corruption.
        mask_token_id: id of [MASK].
        seed, epoch: what, beside its tokens, the mask of an example depends on.

    Returns:
        (corrupted input_ids, labels), both [B, T].
    """
    round_of_draws = epoch // masking.draws if masking.design == "explore" else epoch
    keys, index = example_keys(input_ids, real, seed, round_of_draws), positions(real)
    with torch.no_grad():
        p = policy.probabilities(input_ids, real)
    mask = draw_mask(masking.design, p, keys, index, epoch, masking.draws)
    return corrupt(
        input_ids,
        mask,
        keys,
        index,
        mask_token_id=mask_token_id,
        vocab_size=len(policy.special),
        mask_share=masking.mask_share,
        random_share=masking.random_share,
    )


class TypeTable(nn.Module):
    """One free logit per token id."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        return self.logits[input_ids]


class ContextNetwork(nn.Module):
    """A small network over frozen features of a token and its neighbours.

    features (projected embedding, standardised scores) → linear → depth-wise convolution over the text, added
    → GELU → linear to one logit, which starts at zero.
    """

    def __init__(self, features: Tensor, hidden: int, kernel: int) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.project = nn.Linear(features.shape[1], hidden)
        self.context = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden)
        self.out = nn.Linear(hidden, 1, bias=False)  # the budget makes up for any constant
        nn.init.zeros_(self.out.weight)

    features: Tensor

    def forward(self, input_ids: Tensor, real: Tensor) -> Tensor:
        x = self.project(self.features[input_ids]) * real[..., None]
        x = x + self.context(x.transpose(1, 2)).transpose(1, 2)
        return self.out(nn.functional.gelu(x))[..., 0]


def token_features(embedding: Tensor, scores: dict[str, Tensor], dimensions: int) -> Tensor:
    """What the context network knows of a token type: projected embedding and standardised scores, [V, F]."""
    columns = [_standardised(scores[name][:, None].float()) for name in sorted(scores)]
    return torch.cat([projected_embedding(embedding, dimensions), *columns], 1)


def projected_embedding(embedding: Tensor, dimensions: int) -> Tensor:
    """The first principal components of [V, d] token embeddings, each of unit variance; [V, min(dimensions, d)].

    Signs are fixed (largest entry of each axis positive), so the result does not depend on the solver.
    """
    x = embedding.double() - embedding.double().mean(0)
    _, axes = torch.linalg.eigh(x.T @ x)
    axes = axes.flip(1)[:, :dimensions]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    return _standardised(x @ axes).float()


def _standardised(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0).clamp(min=1e-9)


def _build_network(config: PolicyConfig, vocab_size: int, features: Tensor) -> nn.Module | None:
    if config.network == "none":
        return None
    if config.network == "table":
        return TypeTable(vocab_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ContextNetwork(features, config.hidden, config.kernel)
