"""What `policylearn inspect` reads and tells: lines of a file, facts on a policy, pictures under it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from policylearn.artefact import PolicyArtefact
from policylearn.collator.distil import COLUMN
from policylearn.config import PatchesConfig, PolicyConfig
from policylearn.data.formats import read_lines
from policylearn.data.pictures import PatchRows, read_pictures
from policylearn.policy.patches import REGION, patch_field
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import scorer_of
from policylearn.report.inspected import write_inspected_pictures
from policylearn.report.pictures import drawn_pictures, in_letters
from policylearn.report.printing import print_line, print_to_copy
from policylearn.scores.registry import READ_LABELS

MOST = 24
"""Pictures that are shown at once."""
OF_ROWS = (".csv", ".tsv", ".json", ".jsonl")


def read_texts(path: str) -> list[str]:
    """The lines of a file that are not blank.

    A line ends with "\\n" or "\\r\\n", and with nothing else: a form feed or U+2028 is part of a text.

    Raises:
        ValueError: it cannot be read, or has none.
    """
    if not (texts := [line for line in read_lines(Path(path), f"--file {path}") if line.strip()]):
        raise ValueError(f"--file {path} holds no text: one a line is expected")
    return texts


def rows_line(path: str) -> str | None:
    """What to say of a file of rows, whose lines are taken for texts all the same; None of another."""
    if not path.endswith(OF_ROWS):
        return None
    return f"--file {path} is read line by line, with all its columns, as text: write its texts alone, one a line"


NETWORK_IN_WORDS = {
    "table": "a logit per token id",
    "neighbours": "a logit per token id at each place about a token",
    "context": "over the text",
    "span": "over the text, of where spans begin and end",
}
"""Others, of parts of one's own, by their name."""


def read_places(policy: MaskingPolicy, places: Sequence[str]) -> tuple[Tensor, list[str], Tensor]:
    """The first `MOST` pictures of files, folders or arrays, x [B, T, d], the names of all, and what boxes
    cover of the former, [B, T], NaN without any. Pixels become numbers as they did when the policy was learned.

    Raises:
        ValueError: there are none, or one cannot be read or is of another size than those of the policy.
    """
    if not places:
        raise ValueError("no picture to inspect: name files of pictures, folders of them, or .npz files")
    field = patch_field(policy.field)
    mean, std = field.scale.tolist()
    config = PatchesConfig(words=1, mean=mean, std=std)
    mend = "resize or convert it to what the policy was learned with"
    found = [read_pictures(place, config, field.grid, "picture", "label", mend=mend) for place in places]
    x = torch.cat([one.rows.batch(range(min(len(one.rows), MOST)))[0] for one in found])
    boxes = torch.cat([_boxes(one.rows)[:MOST] for one in found])
    return x[:MOST], [name for one in found for name in one.names], boxes[:MOST]


def _boxes(rows: PatchRows) -> Tensor:
    unknown = torch.full((len(rows), rows.grid.count), torch.nan)
    return rows.values(range(len(rows))).get(REGION, unknown)


def show_pictures(
    console: Console, policy: str, artefact: PolicyArtefact, places: Sequence[str], html: Path | None
) -> None:
    """Pictures under a policy in letters, or on a page."""
    x, names, boxes = read_places(artefact.policy, places)
    if len(x) < len(names):
        print_line(console, f"the first {MOST} of {len(names):,} pictures")
    if html is None:
        for one, name, its in zip(x.split(1), names, boxes.split(1), strict=False):
            shown = f"{name}\n{in_letters(artefact.policy, one, {REGION: its})}\n"
            print_line(console, shown)
        return
    write_inspected_pictures(html, policy, drawn_pictures(artefact.policy, x, names, {REGION: boxes}), facts(artefact))
    print_to_copy(console, f"page  {html}")


def facts(artefact: PolicyArtefact) -> dict[str, str]:
    """What to know of a policy, by name."""
    config, masking = artefact.policy.config, artefact.policy.masking
    prior = " + ".join(f"{strength:g} · {name}" for name, strength in config.prior.items()) or "uniform"
    return {
        "rate": masking.rate_in_words,
        "unit": masking.unit,
        "design": masking.design_in_words,
        "prior": prior,
        "network": NETWORK_IN_WORDS.get(config.network, config.network),
        **_learned(config),
        **{name: str(value) for name, value in artefact.provenance.items()},
    }


def _learned(config: PolicyConfig) -> dict[str, str]:
    """What can be said of a policy whose provenance does not: those of earlier versions, and scorers straight from
    texts."""
    if config.network != "none" or COLUMN in config.prior:
        return {}
    from_labels = [name for name in config.prior if scorer_of(name) in READ_LABELS]
    return {"learned": f"in the prior, from labels ({', '.join(from_labels)})" if from_labels else "nothing"}
