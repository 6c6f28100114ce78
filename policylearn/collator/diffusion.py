"""DiffusionCollator: a policy as the data collator of a masked-diffusion language model."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

from torch import Tensor

from policylearn.collator.overrides import FIELDS
from policylearn.collator.packing import Masking
from policylearn.collator.padding import Batch, Rows
from policylearn.collator.policy_collator import ExampleRows, PolicyCollator
from policylearn.policy.diffusion import Diffused, Weighting, diffuse

OWN_RATES = [name for name in FIELDS if name != "whole_word_mask"]
"""Fields of `PolicyCollator` that say what is settled here: every rate occurs, what is hidden is shown as [MASK]."""


@dataclass
class DiffusionCollator(PolicyCollator):
    """Texts hidden at every rate from one token to all, and the weights that go with it, for a loss of your own:

        nll = cross_entropy(logits.transpose(1, 2), batch["labels"], reduction="none")
        loss = (batch["weights"] * nll).sum() / (batch["p_mask"] > 0).sum().clamp(min=1)  # nothing may be hidden: 0

    Under a policy that knows nothing, and masks single tokens, this is the bound of MDLM and LLaDA, per token, without
    bias; what it is under other policies says `policylearn.policy.diffusion`: each token counted once, but no bound, so
    compare models by that of the uniform policy. What is hidden depends on seed, epoch and the text's own tokens, as in
    `PolicyCollator`; at what rate, on what else is in the batch too, over which rates are spread.

    A batch has `input_ids` with [MASK] wherever something is hidden, `labels` (-100 elsewhere, but for the first token
    of a batch of which nothing may be hidden, at weight 0), `t` [B], the rate of each text, `p_mask` [B, T], the
    probability with which each token is hidden at this rate, and `weights` [B, T].

    Attributes:
        weighting: "inclusion": 1 / p_mask, every token counts once; "rate": 1 / t, a token counts as much as the policy
            likes it.
        floor: share of a rate that is spent on all tokens alike, so that weights stay below 1 / (floor · t).
        complement: every text twice in a row, hidden by m at rate t and by 1 - m at 1 - t (twice the same where
            t = 1); B is then twice the number of examples.

    Raises:
        ValueError: as `PolicyCollator`; a rate or a share is given, which is settled here, or documents are packed.

    >>> from policylearn.config import PlantedConfig
    >>> from policylearn.data.planted import planted_tokenizer
    >>> tokenizer = planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))
    >>> collator = DiffusionCollator(tokenizer, complement=True)  # 2, 3, 4 are [CLS], [SEP], [MASK]
    >>> collator.set_epoch(0)
    >>> batch = collator([{"input_ids": [2, 20, 21, 22, 23, 24, 3]}])
    >>> batch["input_ids"]
    tensor([[ 2,  4,  4, 22, 23,  4,  3],
            [ 2, 20, 21,  4,  4, 24,  3]])
    >>> batch["t"]
    tensor([0.6000, 0.4000])
    >>> batch["weights"]
    tensor([[0.0000, 1.6667, 1.6667, 0.0000, 0.0000, 1.6667, 0.0000],
            [0.0000, 0.0000, 0.0000, 2.5000, 2.5000, 0.0000, 0.0000]])
    """

    weighting: Weighting = "inclusion"
    floor: float = 0.1
    complement: bool = False

    def _check_fields(self) -> None:
        super()._check_fields()
        if self.weighting not in get_args(Weighting):
            raise ValueError(f"weighting {self.weighting!r}: take one of {', '.join(get_args(Weighting))}")
        if not isinstance(self.floor, Real) or not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor {self.floor!r:.80} must lie between 0 and 1")
        if given := [name for name in OWN_RATES if getattr(self, name) is not None]:
            raise ValueError(f"{given[0]} is given, but texts are hidden at every rate, and wholly: leave it out")
        if not self.mlm:
            raise ValueError("mlm=False hides nothing, of which there is no diffusion: leave it out")

    def _call(self, examples: ExampleRows, mask: Masking) -> Batch:
        """With t, p_mask and weights; what would mask otherwise is not asked."""
        found: list[Diffused] = []

        def hide(ids: Tensor, protected: Tensor, **scores: Tensor) -> tuple[Tensor, Tensor]:
            found.append(self._diffused(ids, protected, scores))
            return found[0].show(ids, self.tokenizer.mask_token_id), found[0].labels(ids)

        batch = super()._call(examples, hide)
        if not found or found[0].p.shape != batch["input_ids"].shape:
            raise ValueError(
                "documents are packed, or there is no token: give one text, which has one rate, per example"
            )
        hidden = found[0]
        return batch | {"t": hidden.t, "p_mask": hidden.p, "weights": hidden.weights(self.weighting)}

    def _diffused(self, ids: Tensor, protected: Tensor, scores: dict[str, Tensor]) -> Diffused:
        """What is hidden of rows [B, T], of which every second is the complement of the one before if so wished."""
        every = 2 if self.complement else 1
        ids, protected, scores = ids[::every], protected[::every], {name: x[::every] for name, x in scores.items()}
        policy, real = self._read(ids, protected, scores)
        hidden = diffuse(policy, ids, real, *self._draw(policy, ids, real), scores, floor=self.floor)
        return hidden.with_complements() if self.complement else hidden

    def _kept(self, examples: ExampleRows) -> Rows:
        rows = super()._kept(examples)
        if not self.complement:
            return rows
        if isinstance(rows, Mapping):
            raise ValueError("complement=True of a batch that is put together: give examples one by one")
        kept: list[Mapping[str, Any]] = [row for row in rows for _ in range(2)]
        return kept
