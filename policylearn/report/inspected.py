"""Texts under a policy as one self-contained HTML page: no network, light and dark."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from policylearn.report.heatmap import Heatmap, html_heatmap, html_legend, scale_top
from policylearn.report.page import environment


def write_inspected(
    path: Path, policy: str, examples: Sequence[tuple[Heatmap, Heatmap]], facts: Mapping[str, str]
) -> None:
    """Write the page; of a policy on this machine it tells the name, not the folders it is in."""
    title = f"Masking policy: {Path(policy).resolve().name if Path(policy).exists() else policy}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_inspected(title, examples, facts), encoding="utf-8")


def render_inspected(title: str, examples: Sequence[tuple[Heatmap, Heatmap]], facts: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        examples: (prior, learned) heatmaps of the same text; if nothing was learned, they are alike and shown once.
        facts: what to know of the policy, by name.
    """
    top = scale_top(*(heatmap for pair in examples for heatmap in pair))
    shown = [tuple(Markup(html_heatmap(heatmap, top)) for heatmap in pair) for pair in examples]
    alike = all(prior == learned for prior, learned in shown)
    return (
        environment()
        .get_template("inspected.html")
        .render(
            title=title,
            pairs=[] if alike else shown,
            texts=[learned for _, learned in shown] if alike else [],
            legend=Markup(html_legend(top)),
            facts=facts,
        )
    )
