"""A tiny planted vocabulary, policies over it and artefacts of them, for the tests of everything built on top."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
import torch
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from policylearn import cli
from policylearn.artefact import PolicyArtefact, load_policy, save_policy
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.commands.train import train
from policylearn.config import MaskingConfig, PlantedConfig, PolicyConfig, load_config
from policylearn.data.planted import SPECIALS, domain_corpus, planted_tokenizer
from policylearn.masking import TextField, vocabulary
from policylearn.policy.policy import MaskingPolicy
from policylearn.policy.scores import Scores, scorer_of
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ALL
from policylearn.storage import folder

TESTS = Path(__file__).parent
for asked in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):  # by whoever runs the tests
    os.environ.pop(asked, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what is started here: two run side by side, on two cores or few more
torch.set_num_threads(1)
hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Under pytest-xdist the tests of a file stay in one process, for what they share. Those that start a Ray cluster,
    and spend their time waiting, are all in the same."""
    for item in items:
        ray = "cluster" in item.path.parts or item.path.name == "test_preemption.py"
        item.add_marker(pytest.mark.xdist_group("ray" if ray else str(item.path)))


@pytest.fixture(autouse=True)
def nothing_stays_registered():
    """What a test adds to a registry, or has another module add, is forgotten after it."""
    before = [(known, dict(known.members), dict(known.origins)) for known in ALL]
    yield
    for known, members, origins in before:
        known.members, known.origins = members, origins


@pytest.fixture(scope="session")
def tokenizer():
    return planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))


@pytest.fixture(scope="session")
def wordpiece():
    """A WordPiece tokenizer of syllables: words of one to four pieces."""
    syllables = [c + v for c in "bdfgklmn" for v in "aeiou"]
    pieces = [*SPECIALS, *syllables, *(f"##{s}" for s in syllables), ".", ","]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(token, pieces.index(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIALS, strict=True)))


@pytest.fixture(scope="session")
def make_policy(tokenizer):
    """A policy with random prior scores; `learned`: φ moved away from zero as well; `masking`: further settings."""

    def make(
        network="table", prior=("difference",), seed=0, rate=0.15, p_max=0.9, learned=False, masking=None, **settings
    ):
        random, size = torch.Generator().manual_seed(seed), len(tokenizer)
        masking = MaskingConfig(**{"rate": rate, "p_max": p_max, **(masking or {})})
        policy = MaskingPolicy(
            PolicyConfig(prior={name: 1.5 + i for i, name in enumerate(prior)}, network=network, **settings),
            {scorer_of(name): Scores(torch.randn(size, generator=random)) for name in prior},
            torch.zeros(0, dtype=torch.int64),
            torch.randn(size, 7, generator=random),
            TextField(vocabulary(tokenizer), masking),
        )
        if learned:
            phi = {n: p + torch.randn(p.shape, generator=random) / 4 for n, p in policy.learned().items()}
            policy.load_learned(phi)
        return policy

    return make


@pytest.fixture(scope="session")
def make_artefact(make_policy, tokenizer):
    """An artefact of a policy with a learned context network, or of the policy given."""

    def make(policy=None, **masking):
        if policy is None:
            policy = make_policy("context", learned=True, masking=masking)
        return PolicyArtefact(policy, tokenizer, provenance={"tokenizer": "planted"})

    return make


@pytest.fixture(scope="session")
def saved_policy(make_artefact, tmp_path_factory):
    """A folder with an exported policy; not to be written to."""
    return save_policy(tmp_path_factory.mktemp("policy"), make_artefact(), card="# A policy\n")


@pytest.fixture(scope="session")
def trained_texts():
    """32 texts of 20 words, all different: what the trainers of others are given."""
    words = PlantedConfig(class_words=5, distractor_words=6, generic_words=30, documents=32, length=20)
    return domain_corpus(words)


@pytest.fixture(scope="session")
def trained_examples(trained_texts, tokenizer):
    """Their token ids."""
    return [{"input_ids": ids} for ids in tokenizer(trained_texts)["input_ids"]]


@pytest.fixture
def masked_lm(tokenizer):
    """A BERT that trains in milliseconds."""
    return tiny_bert(len(tokenizer))


def tiny_bert(size):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    return BertForMaskedLM(BertConfig(vocab_size=size, **shape))


@pytest.fixture
def seen(masked_lm):
    """The batches `masked_lm` is given, in order."""
    batches: list[dict] = []

    def keep(module, args, batch):
        batches.append({name: batch[name].clone() for name in ("input_ids", "attention_mask", "labels")})

    masked_lm.register_forward_pre_hook(keep, with_kwargs=True)
    return batches


@pytest.fixture(scope="session")
def masks_of():
    """Batches → {text: which of its tokens are to be predicted}; a text must not come twice."""

    def masks(batches):
        found = {}
        for batch in batches:
            texts = torch.where(batch["labels"] != -100, batch["labels"], batch["input_ids"])
            for ids, labels, real in zip(texts, batch["labels"], batch["attention_mask"].bool(), strict=True):
                text = tuple(ids[real].tolist())
                assert text not in found, "a text came twice"
                found[text] = (labels[real] != -100).tolist()
        return found

    return masks


@pytest.fixture(scope="session")
def masks_of_epoch(saved_policy, trained_examples, masks_of):
    """Epoch → the masks that `saved_policy` gives to all texts, whoever asks for them and however."""
    collator = PolicyCollator.from_pretrained(saved_policy)

    def masks(epoch):
        collator.set_epoch(epoch)
        return masks_of([collator(trained_examples)])

    return masks


@pytest.fixture(scope="session")
def run_scripts(tmp_path_factory, tokenizer, trained_texts, saved_policy):
    """`run_scripts({name: (script, ranks)})`: the folder where each wrote into one of its name, and what they said.

    The scripts are those of configs/trainers, on one model, policy and file of texts; see trainers/recorded.py.
    """

    def run(scripts):
        folder = tmp_path_factory.mktemp("scripts")
        (folder / "scripts.json").write_text(json.dumps(scripts), encoding="utf-8")
        (folder / "texts.txt").write_text("\n".join(trained_texts), encoding="utf-8")
        tiny_bert(len(tokenizer)).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        command = [sys.executable, str(TESTS / "trainers" / "recorded.py"), str(folder), str(saved_policy)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=280)
        return folder, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """As many as a worker has: on tensors this small more threads only wait for each other."""
    torch.set_num_threads(1)


TINY = """
name = "tiny"
[model]
max_length = 16
[model.architecture]
model_type = "bert"
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 32
initializer_range = 0.1
[planted]
class_words = 4
distractor_words = 6
generic_words = 12
length = 10
documents = 80
train = 60
dev = 40
test = 40
[scores.difference]
anchors = 10
[inner]
steps = 7
batch_size = 8
start = 0.4
window = 1
every = 3
[outer]
support = 16
query = 16
[learn]
rounds = 3
rollouts = 2
[cluster]
backend = "local"
workers = 1
[evaluate]
seeds = 2
"""


@pytest.fixture(scope="session")
def tiny_toml(tmp_path_factory):
    """The planted benchmark in miniature: learning and evaluation together take seconds."""
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tiny_toml):
    """`tiny("inner.steps=4", …)`: the tiny config, with overrides."""
    return lambda *overrides: load_config(tiny_toml, list(overrides))


@pytest.fixture(scope="session")
def tiny_problem(tiny):
    return problem_of(tiny())


@pytest.fixture
def quiet():
    """A console that shows nothing; `quiet.file.getvalue()` is what was said."""
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="session")
def finished(tiny, tmp_path_factory):
    """The folder of one finished tiny run; not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(), folder, Console(file=io.StringIO()), command="policylearn train tiny.toml")
    return folder


@pytest.fixture(scope="session")
def differing(finished, tmp_path_factory):
    """The folder of a policy that is not its prior: class0_01 has a higher logit. (The tiny run learns nothing that is
    told from noise, so its policy is its prior.)"""
    folder = tmp_path_factory.mktemp("differing") / "policy"
    artefact = load_policy(finished / "prior")
    with torch.no_grad():
        artefact.policy.network.logits[artefact.tokenizer.convert_tokens_to_ids("class0_01")] += 1.0
    save_policy(folder, artefact, card="")
    return folder


@pytest.fixture
def policylearn(monkeypatch, capsys):
    """`policylearn("train", …)`: exit status, standard output, standard error of a call in this process."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["policylearn", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        return exit.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture
def delays(monkeypatch):
    """The delays that would have been slept before a storage is tried again."""
    slept: list[float] = []
    monkeypatch.setattr(folder, "sleep", slept.append)
    monkeypatch.setattr(folder, "monotonic", lambda: sum(slept))
    return slept
