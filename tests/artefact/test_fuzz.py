"""Damaged policies are refused with a ValueError, or are policies all the same: nothing else ever happens."""

import contextlib
import random
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from policylearn.artefact import PolicyArtefact, load_policy, save_policy
from policylearn.artefact.artefact import policy_files
from policylearn.config import MaskingConfig, PolicyConfig
from policylearn.data.planted import SPECIALS
from policylearn.masking import TextField, vocabulary
from policylearn.masking.units import word_keys
from policylearn.policy.policy import MaskingPolicy, mask_tokens
from policylearn.policy.scores import Scores

from .damage import KINDS, Files, sign

TIMES = 300
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
    field = TextField(tables, masking, lexicon if unit == "collocation" else None, 2)
    policy = MaskingPolicy(config, scores, lexicon, torch.randn(size, 5, generator=draw), field)
    policy.load_learned({n: p + torch.randn(p.shape, generator=draw) / 4 for n, p in policy.learned().items()})
    return policy


@pytest.fixture(scope="module")
def artefacts(wordpiece, tmp_path_factory) -> list[Files]:
    """The files of sound policies of several kinds."""
    found, others = [], [trained(*family) for family in FAMILIES.values()]
    kinds = [
        ("table", "token"),
        ("context", "word"),
        ("span", "span"),
        ("context", "collocation"),
        *[("none", "word")] * 2,
    ]
    for (network, unit), tokenizer in zip(kinds, [wordpiece] * 4 + others, strict=True):
        artefact = PolicyArtefact(word_policy(tokenizer, network, unit), tokenizer, {"task": "fuzz"})
        folder = save_policy(tmp_path_factory.mktemp(network), artefact, "# A policy\n")
        found.append({str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    return found


def trained(model, trainer, pre_tokenizer) -> PreTrainedTokenizerFast:
    """A small tokenizer of another family than WordPiece."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(TEXTS * 5, trainer(vocab_size=300, special_tokens=SPECIALS, show_progress=False))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIALS, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


FAMILIES = {
    "bytes": (models.BPE(), trainers.BpeTrainer, pre_tokenizers.ByteLevel()),
    "unigram": (models.Unigram(), partial(trainers.UnigramTrainer, unk_token="[UNK]"), pre_tokenizers.Metaspace()),
}


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
    size = len(artefact.policy.field.special)
    assert artefact.tokenizer(TEXTS, padding=True, truncation=True)["input_ids"]
    rows = [
        [i % size for i in (2, 5, 9, 40, 7, 50, 3)],
        [i % size for i in range(4, 28)],
        *artefact.tokenizer(TEXTS)["input_ids"],
    ]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    with torch.no_grad():
        p = artefact.policy.probabilities(ids, ids > 0)
    assert bool(torch.isfinite(p).all()) and float(p.min()) >= 0 and float(p.max()) <= 1
    mask_tokens(artefact.policy, ids, ids > 0, seed=0, epoch=3, progress=0.5)
    check_sound(artefact, folder)
    return "used"


def check_sound(artefact: PolicyArtefact, folder: Path) -> None:
    """What was loaded is what the files hold, and what they hold may be believed."""
    special, lexicon = artefact.policy.field.special, artefact.policy.scores.lexicon
    given = load((folder / "policy.safetensors").read_bytes())
    again = load(policy_files(artefact, "")["policy.safetensors"])
    assert {name: (t.dtype, t.shape) for name, t in given.items()} == {n: (t.dtype, t.shape) for n, t in again.items()}
    assert all(given[name].numpy().tobytes() == again[name].numpy().tobytes() for name in given)
    assert bool((lexicon.diff() > 0).all()) and int(special.view(torch.uint8).max()) <= 1
    vocabulary = artefact.tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(len(special)))
    assert sorted(set(artefact.tokenizer.all_special_ids)) == special.nonzero()[:, 0].tolist()


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


def only_values(name: str, shown: str):
    """`_naming`, were it to expect nothing but ValueError."""
    return contextlib.nullcontext()


def only_the_longest(tensors, config) -> None:
    """`_check_values`, were it to look at nothing else; without this much, a collocation may be endless."""
    if not 0 <= int(tensors["segmenter.longest"]) <= 8:
        raise ValueError("longest")


WEAKENED = {
    "numbers in tensors": ("tensors._check_values", only_the_longest, "values"),
    "size of logits": ("tensors.largest_logit", lambda *_: 0.0, "values"),
    "kinds of tensors": ("tensors.check_kinds", lambda *_: None, "header"),
    "identity of the tokenizer": ("loading._check_identity", lambda *_: None, "edit"),
    "errors of other kinds": ("loading._naming", only_values, "edit"),
}


@pytest.mark.parametrize("name", WEAKENED)
def test_the_fuzz_sees_that_a_check_is_missing(name, artefacts, tmp_path, monkeypatch):
    target, replacement, kind = WEAKENED[name]
    monkeypatch.setattr(f"policylearn.artefact.{target}", replacement)
    kind = next(each for each in KINDS if each.__name__ == kind)
    with pytest.raises((AssertionError, ValueError)):
        fuzz(kind, artefacts, tmp_path / "policy", TIMES)
