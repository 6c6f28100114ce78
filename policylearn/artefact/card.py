"""The model card: what the Hub shows of a policy, and finds it by."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from huggingface_hub import ModelCard, ModelCardData

TAGS = ["policylearn", "masked-language-modeling", "masking-policy", "fill-mask"]
PICTURE_TAGS = ["policylearn", "masked-image-modeling", "masking-policy"]
HERE = "this folder"
"""Stands for the policy's own place in the card's example."""
Use = Literal["texts", "seq2seq", "diffusion", "pictures"]
"""What models a policy is for: encoders of texts, encoder–decoders, masked-diffusion models, or those of pictures."""
OF_MODELS, ENCODER_DECODERS = "for models", "encoder–decoders"
"""What a policy's provenance says of them, where nothing else tells."""
COLLATORS = {
    "texts": ("PolicyCollator", "# give it to any trainer as data_collator"),
    "seq2seq": ("DenoisingCollator", '# give it to Seq2SeqTrainer as data_collator; for T5 style="sentinels"'),
    "diffusion": ("DiffusionCollator", "# its batches come with the weights of a loss of your own"),
}
"""Of texts: the collator, and what to do with it."""


def use_known(provenance: Mapping[str, Any], pictures: bool) -> Use:
    """What models a policy is for, by what is known of it; of one that says nothing, the usual.

    >>> use_known({"for models": "encoder–decoders"}, pictures=False), use_known({}, pictures=False)
    ('seq2seq', 'texts')
    """
    if pictures:
        return "pictures"
    if provenance.get("objective") == "masked_diffusion":
        return "diffusion"
    return "seq2seq" if provenance.get(OF_MODELS) == ENCODER_DECODERS else "texts"


def told_of_use(use: Use) -> dict[str, str]:
    """What has to be kept for `use_known`, beside the facts of any run."""
    return {OF_MODELS: ENCODER_DECODERS} if use == "seq2seq" else {}


def model_card(
    text: str,
    provenance: dict[str, Any],
    *,
    license: str | None = None,
    base_model: str | None = None,
    datasets: Sequence[str] | None = None,
    pictures: bool = False,
) -> str:
    """A README.md with the YAML header of a model card; one that the text has already is brought up to date.

    Args:
        text: in Markdown.
        provenance: of the artefact; model and data that have a name on the Hub ("org/name") go into the header.
        license: as the Hub names it, such as "apache-2.0".
        base_model, datasets: instead of what `provenance` has.
        pictures: whether the policy is over such.

    >>> print(model_card("# A policy", {"model": "org/bert"}, license="mit"))
    ---
    base_model: org/bert
    library_name: policylearn
    license: mit
    tags:
    - policylearn
    - masked-language-modeling
    - masking-policy
    - fill-mask
    ---
    <BLANKLINE>
    # A policy
    """
    card = ModelCard(text) if text.startswith("---") else None
    before = card.data.to_dict() if card else {}
    named = {key: value for key, value in provenance.items() if isinstance(value, str) and value.count("/") == 1}
    own = {
        "library_name": "policylearn",
        "tags": _unique(*(PICTURE_TAGS if pictures else TAGS), *before.get("tags", [])),
        "license": license or before.get("license"),
        "base_model": base_model or before.get("base_model") or named.get("model"),
        "datasets": list(datasets or before.get("datasets") or _unique(named.get("domain"), named.get("task"))) or None,
    }
    data = ModelCardData(**{**before, **own})
    return f"---\n{data.to_yaml()}\n---\n\n{(card.text if card else text).lstrip()}"


def _unique(*names: str | None) -> list[str]:
    """Those that there are, each once."""
    return list(dict.fromkeys(name for name in names if name))


def plain_card(title: str, about: str, provenance: dict[str, Any], use: Use = "texts") -> str:
    """A card for a policy of which there is little to tell."""
    facts = [f"- {name}: {value}" for name, value in provenance.items()]
    text = "\n".join([f"# {title}", "", about, "", *usage(use), "", *facts, ""])
    return model_card(text, provenance, pictures=use == "pictures")


def with_note(card: str, note: str) -> str:
    """The card with a paragraph put before its text, after its header.

    >>> with_note("---\\nlicense: mit\\n---\\n\\n# A policy", "Beware.")
    '---\\nlicense: mit\\n---\\n\\nBeware.\\n\\n# A policy'
    """
    head, mark, text = card.partition("\n---\n") if card.startswith("---\n") else ("", "", card)
    return f"{head}{mark}" + ("\n" if mark else "") + f"{note}\n\n{text.lstrip()}"


def usage(use: Use) -> list[str]:
    """Lines of Markdown that show how a policy is used."""
    return ["```python", *collator_lines(use, HERE), "```"]


def collator_lines(use: Use, policy: str) -> list[str]:
    """Lines of Python that make the collator of a policy, which is at this place.

    >>> collator_lines("seq2seq", "mine")[-1].partition("  # ")[0]
    'collator = DenoisingCollator.from_pretrained("mine", style="infilling")'
    """
    if use == "pictures":
        made = f'PatchCollator(model, load_policy("{policy}"))  # of the model that Trainer is given'
        return ["from policylearn import PatchCollator, load_policy", "", f"collator = {made}"]
    (collator, note), style = COLLATORS[use], ', style="infilling"' * (use == "seq2seq")
    made = f'{collator}.from_pretrained("{policy}"{style})  {note}'
    return [f"from policylearn import {collator}", "", f"collator = {made}"]
