"""The masking policy: which tokens of a text are worth predicting.

    logit_i = Σ_h exp(t_h) a_h · score_h(token_i) + g_φ(features_i),      p = budget(logits, rate)

The trust t_h in a scorer and the last layer of g start at zero: before any learning the policy *is* the prior it was
built from. That all tokens have a say in t is how a prior that is wrong loses its strength in a few rounds.

The "span" network has g_φ(token) = start(first of its unit) + end(last of its unit) + inside(token) instead, and where
units are spans it also says how texts are cut into them (`masking.spans`).
"""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import (
    MaskedBatch,
    TextField,
    budget,
    draw_units,
    positions,
    rates_of,
    vocabulary,
)
from policylearn.masking.field import text_field
from policylearn.masking.spans import span_logits
from policylearn.masking.units import unit_probabilities
from policylearn.masking.vocabulary import marks_words
from policylearn.policy.networks import SpanNetwork, build_network
from policylearn.policy.scores import RANK, Scores, ScoreTable, rank_weights, scorer_of
from policylearn.protocols import Field

FIELD, FIELD_ON_DISK = "field.", "segmenter."
"""What tensors of the field begin with, here and in files, whose format is older than the name."""

Columns = Mapping[str, Tensor]
"""Scorer name → [B, T] scores that came with the text, NaN where unknown; they replace the scorer's table."""


class MaskingPolicy(nn.Module):
    """Inclusion probabilities for every eligible token of a batch.

    Args:
        config: prior strengths a and the kind of network.
        scores: scorer name → its scores; must hold every scorer in `config.prior`.
        lexicon: [W] int64, sorted keys of the words that `scores` know.
        features: [V, F] frozen features of token types, see `token_features`; only the "context" and "span"
            networks look at them.
        field: what may be hidden of an example, with the masking settings: budget, unit, design and corruption.

    Raises:
        ValueError: a scorer named in the prior has no scores, or a score is not finite.
    """

    field: Field

    def __init__(
        self,
        config: PolicyConfig,
        scores: Mapping[str, Scores],
        lexicon: Tensor,
        features: Tensor,
        field: Field,
    ) -> None:
        super().__init__()
        if missing := {scorer_of(name) for name in config.prior} - set(scores):
            raise ValueError(f"policy.prior names {sorted(missing)}, but only {sorted(scores)} were scored")
        if bad := [name for name, found in scores.items() if not found.finite()]:
            raise ValueError(f"scores {bad} hold NaN or infinite values: check what they were made from")
        self.config, self.field = config, field
        self.names = sorted(config.prior)
        self.scores = ScoreTable([scores[scorer_of(name)] for name in self.names], lexicon, field.size)
        self.strengths = nn.Parameter(torch.tensor([config.prior[n] for n in self.names]), requires_grad=False)
        self.network = build_network(config, field.size, features)
        self.trust = nn.Parameter(torch.zeros(len(self.names)), requires_grad=self.network is not None)
        self.float()  # whatever torch makes by default in this process: it is saved, and checked, in single precision
        self.start: tuple[MaskingPolicy] | None = None  # in a tuple, for it is no part of what is learned or saved

    @property
    def masking(self) -> MaskingConfig:
        """Budget, unit, design and corruption."""
        return self.field.masking

    def text_scores(self, x: Tensor, real: Tensor, columns: Columns | None = None) -> Tensor:
        """Of every text the mean, over what may be masked, of Σ_h score_h, whatever the strengths; that of expected
        credit says what a masked token is worth there. [B] float64, NaN where nothing may be masked."""
        eligible = self.eligible(x, real)
        with torch.no_grad():
            return (self._scores(x, real, columns).sum(0).double() * eligible).sum(1) / eligible.sum(1)

    def forward(self, x: Tensor, real: Tensor, columns: Columns | None = None) -> Tensor:
        """Logits [B, T] of a text's token ids x [B, T]; what stands in padding (where not `real`) changes nothing."""
        lead = self.units(x, real) if self._scores_spans else None
        return self._learned_logits(self._scores(x, real, columns), x, real, lead)

    @property
    def scores_words(self) -> bool:
        """Whether logits depend on what is a word, by scores of words or ranks among them."""
        return bool(len(self.scores.lexicon)) or any(name.endswith(RANK) for name in self.names)

    @property
    def _scores_spans(self) -> bool:
        return isinstance(self.network, SpanNetwork)

    @property
    def cuts_spans(self) -> bool:
        """Whether the network says how texts are cut into units."""
        return self._scores_spans and self.masking.unit == "span"

    def units(
        self, x: Tensor, real: Tensor, keys: Tensor | None = None, rate: float | Tensor | None = None
    ) -> Tensor | None:
        """Lead of the unit each position belongs to, [B, T], as `Field.units`; spans as the network wants them,
        if it is one of spans."""
        if not self.cuts_spans:
            return self.field.units(x, real, keys, rate=rate)
        with torch.no_grad():
            return self.field.units(x, real, keys, self._network_logits(x, real), rate)

    def _learned_logits(self, scores: Tensor, x: Tensor, real: Tensor, lead: Tensor | None) -> Tensor:
        """[B, T]; `lead` says what are units, which only a network of spans asks."""
        trusted = self._combine(self.strengths * self.trust.exp(), scores)
        if self.network is None:
            return trusted
        found = self._network_logits(x, real)
        return trusted + (span_logits(found, lead) if self._scores_spans else found)

    def _network_logits(self, x: Tensor, real: Tensor) -> Tensor:
        """[B, T], of a network of spans [B, T, 3]. ValueError: they are of another shape, which might be spread over
        the text, or of another type, or learning would not reach what is to be learned."""
        assert self.network is not None
        found: Any = self.network(self.field.types(x), real)
        shape = [*real.shape, *([SpanNetwork.outputs] if self._scores_spans else [])]
        if not isinstance(found, Tensor) or list(found.shape) != shape or not found.is_floating_point():
            given = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise ValueError(f"network {self.config.network!r} gave {given}: have it give floating logits {shape}")
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in self.network.parameters())
        if learns and not found.requires_grad:
            raise ValueError(f"network {self.config.network!r} gave logits without a gradient, by which it learns")
        return found

    def _combine(self, strengths: Tensor, scores: Tensor) -> Tensor:
        return torch.einsum("h,hbt->bt", strengths, scores)

    def _scores(self, x: Tensor, real: Tensor, columns: Columns | None) -> Tensor:
        """Of every scorer of the prior, [H, B, T]."""
        if not self.names:
            return torch.zeros((0, *real.shape), device=x.device)
        ranked = [name.endswith(RANK) for name in self.names]
        words = self.field.words(x, real) if self.scores_words else None
        scores = list(self.scores(self.field.types(x), words))
        for h, name in enumerate(self.names):
            if columns and scorer_of(name) in columns:
                given = columns[scorer_of(name)].to(scores[h])
                scores[h] = torch.where(given.isnan(), scores[h], given)
            if ranked[h]:
                assert words is not None
                scores[h] = rank_weights(scores[h], self.eligible(x, real), words)
        return torch.stack(scores)

    def eligible(self, x: Tensor, real: Tensor) -> Tensor:
        """Positions that may be masked, boolean [B, T]."""
        return self.field.eligible(x, real)

    def probabilities(
        self,
        x: Tensor,
        real: Tensor,
        *,
        lead: Tensor | None = None,
        rate: float | Tensor | None = None,
        columns: Columns | None = None,
    ) -> Tensor:
        """Inclusion probabilities [B, T] float64, Σ = rate · n per row, differentiable in φ.

        Args:
            x: [B, T] token ids, or whatever the field is of.
            real: [B, T] boolean, not padding.
            lead: [B, T], units found earlier (spans are cut anew in every epoch); None: found here.
            rate: another rate than `MaskingConfig.usual_rate`; [B, 1] if rows have one each.
            columns: scores that came with the text.
        """
        lead = self.units(x, real, rate=rate) if lead is None else lead
        logits = self._learned_logits(self._scores(x, real, columns), x, real, lead)
        return self._spend(logits, x, real, lead, rate)

    def prior_probabilities(self, x: Tensor, real: Tensor, columns: Columns | None = None) -> Tensor:
        """What `probabilities` was before any learning, in the units of now."""
        return self.before().probabilities(x, real, lead=self.units(x, real), columns=columns)

    def reconsider(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """Probabilities under which a batch was masked, by the policy as it is now and by its prior; [B, T] both."""
        text = batch.original, batch.real
        scores = self._scores(*text, batch.columns)
        logits = self._learned_logits(scores, *text, batch.lead)
        prior = self._combine(self.strengths, scores)
        if self.start is not None:
            with torch.no_grad():
                prior = self.start[0]._learned_logits(scores, *text, batch.lead)
        now, before = (self._spend(x, *text, batch.lead, batch.rate) for x in (logits, prior))
        return now, before

    def _spend(
        self, logits: Tensor, x: Tensor, real: Tensor, lead: Tensor | None, rate: float | Tensor | None
    ) -> Tensor:
        eligible = self.eligible(x, real)
        rate = self.masking.usual_rate if rate is None else rate
        if lead is None:
            return budget(logits, eligible, rate, self.masking.p_max)
        return unit_probabilities(logits, eligible, lead, rate, self.masking.p_max)

    def under(self, **settings: Any) -> "MaskingPolicy":
        """The same policy, in the same tensors, under other masking settings.

        Raises:
            ValueError: a setting is out of its range.
        """
        masking = MaskingConfig.model_validate(self.masking.model_dump() | settings)
        other, field = copy.copy(self), copy.copy(self.field)
        field.masking = masking
        other._modules = {**self._modules, "field": cast(nn.Module, field)}
        return other

    def with_words(self, numbers: Tensor) -> "MaskingPolicy":
        """The same policy for one batch, whose words are those that are given: [B, T], negative for tokens that are in
        none. ValueError: it is no policy over texts."""
        other, field = copy.copy(self), copy.copy(text_field(self.field))
        field.numbers = numbers
        other._modules = {**self._modules, "field": field}
        return other

    def tensors(self) -> dict[str, Tensor]:
        """Everything in the policy by the names it has in files."""
        return {_renamed(name, FIELD, FIELD_ON_DISK): tensor for name, tensor in self.state_dict().items()}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set them all, in place."""
        self.load_state_dict({_renamed(name, FIELD_ON_DISK, FIELD): tensor for name, tensor in tensors.items()})

    def start_here(self) -> "MaskingPolicy":
        """From now on the prior, towards which learning is pulled, is the policy as it is now; returns the policy."""
        self.start = (copy.deepcopy(self),)
        return self

    def before(self) -> "MaskingPolicy":
        """What learning started from: the policy of `start_here`, or else the scorers alone."""
        if self.start is not None:
            return self.start[0]
        prior = copy.copy(self)
        prior._modules = {**self._modules, "network": None}
        prior._parameters = {**self._parameters, "trust": nn.Parameter(torch.zeros_like(self.trust), False)}
        return prior

    def become(self, other: "MaskingPolicy") -> None:
        """From now on be what another policy is, whose tensors are taken over."""
        self.__dict__.update(other.__dict__)

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


def _renamed(name: str, prefix: str, other: str) -> str:
    return other + name.removeprefix(prefix) if name.startswith(prefix) else name


def uniform_policy(tokenizer: PreTrainedTokenizerBase, masking: MaskingConfig | None = None) -> MaskingPolicy:
    """The policy that knows nothing: every eligible token, or unit, is as likely as any other.

    Raises:
        ValueError: the tokenizer leaves no mark of words, and the unit is not a token.
    """
    masking = masking or MaskingConfig()
    field = TextField(vocabulary(tokenizer, words=masking.unit != "token" or marks_words(tokenizer)), masking)
    nothing = torch.zeros(0, dtype=torch.int64)
    return MaskingPolicy(PolicyConfig(prior={}, network="none"), {}, nothing, torch.zeros(0, 0), field)


def mask_tokens(
    policy: MaskingPolicy,
    x: Tensor,
    real: Tensor,
    seed: int,
    epoch: int | Tensor,
    progress: float = 0.0,
    columns: Columns | None = None,
    rate: Tensor | None = None,
    floor: float = 0.0,
) -> MaskedBatch:
    """An example to a masked one in five steps: keys, units, probabilities, design, what is hidden.

    Args:
        policy: π_φ.
        x: [B, T] token ids, or whatever the policy's field is of.
        real: [B, T] boolean, not padding.
        seed, epoch: what, beside its tokens, the mask of an example depends on; `epoch` may be one for each row, [B].
        progress: share of training that is done, for a rate that has a schedule.
        columns: scores that came with the example.
        rate: of every row, [B, 1]; None: that of the policy's settings.
        floor: share of the rate that is spent on all eligible tokens alike: p_i = (1 - floor) · π_i + floor · rate.
    """
    masking, keys, index = policy.masking, draw_keys(policy, x, real, seed, epoch), positions(real)
    spent = rates_of(masking.rate, progress, keys) if rate is None else rate
    lead = policy.units(x, real, keys, spent)
    with torch.no_grad():
        p = policy.probabilities(x, real, lead=lead, rate=spent, columns=columns)
        p = p if floor == 0.0 else (1.0 - floor) * p + floor * spent * policy.eligible(x, real)
    mask = draw_units(masking.design, p, keys, index, lead, epoch, masking.draws)
    shown, labels = policy.field.hide(x, mask, keys, index)
    return MaskedBatch(x, shown, real, labels, lead, spent, dict(columns or {}), keys, epoch, p)


def draw_keys(policy: MaskingPolicy, x: Tensor, real: Tensor, seed: int, epoch: int | Tensor) -> Tensor:
    """The keys [B] that masks of `mask_tokens` are drawn by; the draws of `explore` share theirs."""
    masking = policy.masking
    return policy.field.keys(x, real, seed, epoch // masking.draws if masking.design == "explore" else epoch)


def shown_if_masked(policy: MaskingPolicy, batch: MaskedBatch) -> Tensor:
    """What every eligible place of a batch shows when masked, by the same coins; [B, T], token ids for a text.

    Where a token is masked that is what `batch.shown` has; where it is not eligible, the token itself.
    """
    assert batch.keys is not None, "the keys of the draw are not known"
    eligible = policy.eligible(batch.original, batch.real)
    return policy.field.hide(batch.original, eligible, batch.keys, positions(batch.real))[0]
