"""Does the answer depend on which words take part? Reliability by how often a word was masked in each half, from the
tokens that run.py keeps in runs/signal; prints a table.

.venv/bin/python experiments/signal/counts.py
"""

from pathlib import Path

import numpy as np

from policylearn.credit.sums import Sums, advantage, common_words
from policylearn.credit.variance import variance_shares

KEPT, LEAST = Path("runs/signal"), (8, 16, 24)


def sums(kept: np.lib.npyio.NpzFile, half: str) -> Sums:
    """Of one text half, all states of the model together."""
    names = sorted(name.removesuffix(" keys") for name in kept.files if name.endswith(f" {half} keys"))
    first, *others = (Sums.of(kept[f"{name} keys"], advantage(kept[f"{name} credits"])) for name in names)
    return first.add(*others)


def reliability(a: Sums, b: Sums, least: int) -> str:
    """With the number of words."""
    rows = common_words(a, b, least)
    cells = np.stack([a.means[rows[0]][:, :2], b.means[rows[1]][:, :2]], 2)  # [K, labels, text]
    return f"{variance_shares(cells).whole:.2f} ({len(cells)})" if len(cells) >= 10 else f"({len(cells)} words)"


def main() -> None:
    if not any(KEPT.glob("* more.npz")):
        raise SystemExit(f"{KEPT} holds no tokens: run.py comes first")
    print(f"| task | {' | '.join(f'masked ≥ {least} times' for least in LEAST)} |")
    print("|---" * (1 + len(LEAST)) + "|")
    for path in sorted(KEPT.glob("* more.npz")):
        kept = np.load(path)
        a, b = (sums(kept, half) for half in "AB")
        print(f"| {path.stem.removesuffix(' more')} | {' | '.join(reliability(a, b, least) for least in LEAST)} |")


if __name__ == "__main__":
    main()
