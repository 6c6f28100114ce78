"""A policy with what is needed to use it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from policylearn.artefact.tokenizer import first_difference
from policylearn.policy import MaskingPolicy

if TYPE_CHECKING:
    from policylearn.distil import Distilled


@dataclass(frozen=True)
class PolicyArtefact:
    """A policy and what is needed to use it.

    Attributes:
        policy: the network with its scores, and the rate, unit, design and corruption it was learned with.
        tokenizer: whose ids it speaks.
        provenance: what it was learned on and with; free JSON.
        card: the model card (README.md) it came with; empty for one that was never saved.
    """

    policy: MaskingPolicy
    tokenizer: PreTrainedTokenizerBase
    provenance: dict[str, Any] = field(default_factory=dict)
    card: str = field(default="", repr=False, compare=False)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a tokenizer other than the one the policy was learned with.

        Raises:
            ValueError: token ids would mean something else; it names the first that does.
        """
        if difference := first_difference(self.tokenizer, tokenizer):
            known = self.provenance.get("tokenizer", "another tokenizer")
            raise ValueError(
                f"tokenizer {tokenizer.name_or_path!r} ({len(tokenizer)} tokens) does not match the policy, which was "
                f"learned with {known} ({len(self.tokenizer)} tokens). {difference}. Use the policy's own tokenizer, "
                "or learn a policy for this one"
            )

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Upload to the Hugging Face Hub, see `artefact.hub.push_to_hub`; returns the address of the commit."""
        from policylearn.artefact.hub import push_to_hub  # here only: it saves artefacts, and so imports this file

        return push_to_hub(self, name, **options)

    def to_table(self, texts: Iterable[str], **options: Any) -> "Distilled":
        """The same policy as one logit per token id, and how faithful that is; see `distil.to_table`."""
        from policylearn.distil import to_table  # here only: it makes artefacts, and so imports this file

        return to_table(self, texts, **options)

    def annotate(self, dataset: Any, **options: Any) -> Any:
        """A data set with the policy's logits as a column "policy"; see `distil.annotate`."""
        from policylearn.distil import annotate  # here only, as above

        return annotate(self, dataset, **options)
