"""A scorer of one's own, in the comparison of all others: for whoever studies masking.

python configs/researcher.py [OUT], or cell by cell in a notebook. It takes a minute, on a benchmark that comes along.
"""

# %% A scorer is a function of sources (texts, counts, vectors, a model, labels) that gives every token type a number.
import sys

import numpy as np
import torch

import policylearn as pl

words = [] if "ipykernel" in sys.modules else sys.argv[1:]  # in a notebook they are those of its kernel
OUT = words[0] if words else "runs/researcher"


@pl.scorer("middling")
def middling(sources):
    """Words that are neither frequent nor rare in the domain."""
    counts = torch.from_numpy(np.log1p(sources.domain_counts.types).astype(np.float32))
    return pl.Scores(-(counts - counts[counts > 0].mean()).abs())


# %% What it ranks highest. All settings: `policylearn settings`.
settings = {"planted.documents": 400, "inner.steps": 20, "planted.dev": 100, "planted.test": 200}
for word in pl.score("middling", settings=settings, top=5, quiet=True):
    print(f"{word.text:15} {word.score:.3f}  {word.domain} times in the domain")

# %% Fresh models under its masks, under random ones and those of others: paired seeds, as many masked tokens.
found = pl.evaluate(arms=["random", "difference", "middling"], seeds=2, out=OUT, settings=settings)
print(found)

# %% Two seeds say nothing: more of them are added to those that are there. On Ray workers too
# (`"cluster.backend": "ray"`), once the scorer stands in a module of its own, parts.py, and is imported from there.
