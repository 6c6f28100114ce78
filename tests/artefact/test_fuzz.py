"""Damaged policies are refused with a ValueError, or are policies all the same: nothing else ever happens."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from policylearn.artefact import PolicyArtefact, load_policy, save_policy
from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.masking import Segmenter, vocabulary
from policylearn.masking.units import word_keys
from policylearn.policy import MaskingPolicy, mask_tokens
from policylearn.scores.table import Scores

from .damage import KINDS, Files, sign

TIMES = 1_000
"""For every kind of damage."""
MEMORY = 300 << 20
TEXTS = ["babe dafi gogu", "kuma", "babe fikoda. gu, lalele mami"]


def word_policy(tokenizer, network: str, unit: str) -> MaskingPolicy:
    """Scores of types and of words, collocations, φ moved away from zero: all that an artefact may hold."""
    draw, tables = torch.Generator().manual_seed(0), vocabulary(tokenizer)
    size = len(tables.special)
    pairs = torch.randint(5, size, (30, 2), generator=draw)
    lexicon = word_keys(pairs, torch.zeros_like(pairs))[:, 0].unique()
    words = torch.randn(len(lexicon), generator=draw)
    words[::3] = torch.nan
    scores = {"difference": Scores(torch.randn(size, generator=draw), words), "idf": Scores(torch.rand(size))}
    config = PolicyConfig(prior={"difference": 3.0, "idf:rank": 1.0}, network=network, hidden=6, kernel=3)
    masking = MaskingConfig(unit=unit, rate={"kind": "linear", "rates": [0.3, 0.15]}, design="explore")
    segmenter = Segmenter(tables, masking, lexicon if unit == "collocation" else None, 2)
    policy = MaskingPolicy(config, scores, lexicon, torch.randn(size, 5, generator=draw), segmenter)
    policy.load_learned({n: p + torch.randn(p.shape, generator=draw) / 4 for n, p in policy.learned().items()})
    return policy


@pytest.fixture(scope="module")
def artefacts(wordpiece, tmp_path_factory) -> list[Files]:
    """The files of sound policies of several kinds."""
    found = []
    for network, unit in (("table", "token"), ("context", "word"), ("none", "span"), ("context", "collocation")):
        artefact = PolicyArtefact(word_policy(wordpiece, network, unit), wordpiece, {"task": "fuzz"})
        folder = save_policy(tmp_path_factory.mktemp(network), artefact, "# A policy\n")
        found.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    return found


def write(folder: Path, files: Files) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def outcome(folder: Path) -> str:
    """ "refused" or "used"; anything else is an error."""
    try:
        artefact = load_policy(folder)
    except ValueError as error:
        assert str(error).startswith(f"policy {folder}"), error
        assert len(str(error)) < 4_000
        return "refused"
    ids = torch.tensor(
        [row + [0] * (24 - len(row)) for row in ([2, 5, 9, 40, 7, 50, 3], [2, 8, 3], list(range(4, 28)))]
    )
    for length in (24, 7):
        cut = ids[:, :length]
        with torch.no_grad():
            p = artefact.policy.probabilities(cut, cut > 0)
        assert bool(torch.isfinite(p).all()) and float(p.min()) >= 0 and float(p.max()) <= 1
        assert abs(float(artefact.policy(cut, cut > 0).detach().abs().max())) < 1e31
        mask_tokens(artefact.policy, cut, cut > 0, artefact.tokenizer.mask_token_id, seed=0, epoch=3, progress=0.5)
    assert artefact.tokenizer(TEXTS, padding=True)["input_ids"]
    return "used"


def fuzz(kind, artefacts: list[Files], folder: Path, times: int) -> Counter:
    outcomes = Counter()
    for seed in range(times):
        rng = random.Random(f"{kind.__name__}{seed}")
        files = rng.choice(artefacts)
        if kind.__name__ == "swap" and rng.random() < 0.5:  # with a file of another policy
            other, name = rng.choice(artefacts), rng.choice(sorted(files))
            damaged = sign(files | {name: other[name]}) if name != "manifest.json" else files | {name: other[name]}
        else:
            damaged = kind(files, rng)
        write(folder, damaged)
        outcomes[outcome(folder)] += 1
    return outcomes


def memory(key: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(key))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_damage_is_refused_or_harmless(kind, artefacts, tmp_path):
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    outcomes = fuzz(kind, artefacts, tmp_path / "policy", TIMES)
    assert sum(outcomes.values()) == TIMES
    assert outcomes["refused"] > 0
    assert memory("VmHWM") - before < MEMORY
    print(kind.__name__, dict(outcomes))
