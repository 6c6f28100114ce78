"""Which tokens the learned policies of the study `gpu` prefer and avoid, for every task it has one for.

.venv/bin/python experiments/real_tasks/words.py    # after run.py
"""

from collections import Counter
from itertools import islice
from pathlib import Path

import torch

from policylearn.artefact import load_policy
from policylearn.config import load_study
from policylearn.data.corpora import open_corpus

FOLDER = Path(__file__).parent
FREQUENT, SHOWN, ARM = 40, 15, "path-2"


def preferences(folder: str, texts: list[str]) -> list[tuple[str, float]]:
    """Logits of the tokens that texts hold often, each by itself, highest first."""
    artefact = load_policy(folder)
    tokenizer, counts = artefact.tokenizer, Counter[int]()
    for ids in tokenizer(texts, truncation=True, max_length=64)["input_ids"]:
        counts.update(ids)
    known = [i for i, n in counts.items() if n >= FREQUENT and i not in tokenizer.all_special_ids]
    alone = torch.tensor([[tokenizer.cls_token_id, i, tokenizer.sep_token_id] for i in known])
    logits = artefact.policy(alone, torch.ones_like(alone, dtype=torch.bool))[:, 1].tolist()
    found = zip(tokenizer.convert_ids_to_tokens(known), logits, strict=True)
    return sorted(found, key=lambda pair: -pair[1])


def shown(pairs: list[tuple[str, float]]) -> str:
    return ", ".join(f"{token} {logit:+.1f}" for token, logit in pairs)


if __name__ == "__main__":
    study = load_study(FOLDER / "gpu.toml", [])
    if not any(Path(given.policies[ARM]).exists() for given in study.tasks.values()):
        raise SystemExit("runs/real_tasks/gpu holds no policy: run.py gpu comes first")
    for task, given in study.tasks.items():
        if Path(given.policies[ARM]).exists():
            texts = list(islice(open_corpus(study.config_of(task), "domain"), 10_000))
            ranked = preferences(given.policies[ARM], texts)
            print(f"{task}\n  most  {shown(ranked[:SHOWN])}\n  least {shown(ranked[: -SHOWN - 1 : -1])}")
