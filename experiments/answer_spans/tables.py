"""The measures as lines of Markdown."""

from collections.abc import Sequence

import numpy as np

ABOUT = {
    "answers": "Answers in SQuAD contexts of other articles, 15 % masked:",
    "importance": "Words that a classifier of TREC-6 needs, in other questions, 15 % masked:",
}
COLUMNS = {"recall": "target tokens masked", "whole": "targets masked whole", "precision": "of masks targets"}


def table(targets: str, rows: dict[str, list[dict[str, float]]]) -> list[str]:
    """One row per arm: percentages, with the standard deviation over seeds where there are several."""
    head = f"| masks | {' | '.join(COLUMNS.values())} | rate | AUC |"
    return [
        ABOUT[targets],
        "",
        head,
        "|---" * 6 + "|",
        *(f"| {name} | {' | '.join(_cells(found))} |" for name, found in rows.items()),
        "",
    ]


def _cells(found: Sequence[dict[str, float]]) -> list[str]:
    shares = [_shown([100 * one[key] for one in found], "%") for key in (*COLUMNS, "rate")]
    return [*shares, _shown([one["auc"] for one in found], "") if "auc" in found[0] else ""]


def _shown(values: Sequence[float], unit: str) -> str:
    """
    >>> _shown([10.0, 12.0], "%"), _shown([0.5], "")
    ('11.0 ± 1.4 %', '.500')
    """
    digits = 1 if unit else 3
    mean = f"{np.mean(values):.{digits}f}"
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    text = f"{mean}{spread} {unit}".strip()
    return text if unit else text.replace("0.", ".")
