"""Texts under a policy as one self-contained HTML page: no network, light and dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from policylearn.report.heatmap import Heatmap
from policylearn.report.page import drawn, environment


def write_inspected(
    path: Path, policy: str, examples: Sequence[tuple[Heatmap, Heatmap]], facts: Mapping[str, str]
) -> None:
    """Write the page; of a policy on this machine it tells the name, not the folders it is in."""
    title = title_of(policy)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_inspected(title, examples, facts), encoding="utf-8")


def write_inspected_pictures(path: Path, policy: str, drawn: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """The same of pictures, as `pictures.drawn_pictures` has them."""
    title = title_of(policy)
    page = environment().get_template("inspected.html").render(title=title, facts=facts, **drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def render_inspected(title: str, examples: Sequence[tuple[Heatmap, Heatmap]], facts: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        examples: (prior, learned) heatmaps of the same text, see `page.drawn`.
        facts: what to know of the policy, by name.
    """
    return environment().get_template("inspected.html").render(title=title, facts=facts, **drawn(examples))


def title_of(policy: str) -> str:
    """Of the page: what the policy is called, without folders of this machine; the `policy` of a run by the run."""
    here = Path(policy).resolve()
    name = here.parent.name if here.name == "policy" else here.name
    return f"Masking policy: {name if Path(policy).exists() else policy}"
