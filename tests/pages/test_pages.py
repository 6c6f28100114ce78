"""README and the pages, followed to the letter: their blocks are run in order, in a copy of what git tracks.

What differs from a reader's screen: `SHORTER` makes long commands short, the Hub is our own, with a small model of
the name that the pages use, and what is in `ELSEWHERE` is not run here, each with its reason. Any other block must run.
"""

import re
import string
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from transformers import BertTokenizerFast, DistilBertConfig, DistilBertForMaskedLM

from policylearn.data.planted import SPECIALS

from ..artefact.hub_server import TOKEN, Repository, serving
from . import follow as following
from .blocks import FOLLOWED, REPOSITORY, Block, commands, fenced, text_of

pytestmark = pytest.mark.timeout(900)  # half a minute of one idle core
LETTERS = string.ascii_lowercase + ".,?"
LOCAL = ["cluster.backend=local"]
SHORT = [*LOCAL, "inner.steps=4", "evaluate.seeds=1"]
SHORTER = {
    "policylearn train configs/demo.toml": [
        *LOCAL,
        *("learn.rounds=1", "learn.rollouts=1", "inner.steps=8", "inner.window=4", "inner.every=4"),
        *("evaluate.seeds=1", "planted.documents=400", "planted.dev=50", "planted.test=50"),
    ],
    "policylearn pretrain configs/own_task.toml": ["pretrain.steps=4", "domain.limit=100"],
    "policylearn score configs/demo.toml": ["planted.documents=400"],
    "policylearn diagnose configs/own_task.toml": [
        *("inner.steps=8", "credit.points=1", "credit.batches=6"),
        *("credit.folds=2", "credit.resplits=1", "diagnose.shuffles=0", "diagnose.draws=20"),
    ],
    "policylearn train configs/own_task.toml": [
        *(*SHORT, "scores.model_texts=48", "domain.limit=100", "general.limit=100"),
        *("credit.batches=12", "supervised.epochs=1"),
    ],
    "policylearn evaluate my/study.toml": [
        *LOCAL,
        "evaluate.steps=4",
        "evaluate.subsets=1",
        "domain.limit=100",
        "general.limit=100",
    ],
    "policylearn adapt configs/own_task.toml": ["evaluate.weight_mask.epochs=1"],
}
SHORTER_PYTHON = {
    'out="runs/python")': 'out="runs/python", settings={"inner.steps": 4, "credit.batches": 12, "evaluate.seeds": 1})'
}
ELSEWHERE = {
    "pip install": "test_wheel.py installs what is built",
    "python3 -m venv": "the tests run in an environment already",
    "python -m build": "test_wheel.py builds",
    "source .venv/bin/activate": "the same",
    "make test": "runs this test",
    "policylearn train configs/demo.toml cluster.address=auto": "needs a Ray cluster and a bucket",
    "export": "for a cluster of one's own",
    "ray": "needs a Ray cluster; tests/cluster/test_jobs.py submits a job",
    "kubectl": "needs Kubernetes; tests/config/test_cluster_configs.py reads what it is given",
}
ELSEWHERE_BLOCKS = {
    "dockerfile": "needs docker",
    "from lightning": "needs the extra test-peers; tests/peers runs the script of the same lines",
    "from sentence_transformers": "the same",
    "from setfit": "the same",
}


def listed(words: str, table: dict) -> str | None:
    """The longest key that `words` begin with."""
    found = [key for key in table if re.match(rf"{re.escape(key)}(?!\S)", words)]
    return max(found, key=len, default=None)


def step_of(words: list[str]) -> dict | None:
    """A command as follow.py takes it; None: it is run elsewhere."""
    if listed(" ".join(words), ELSEWHERE):
        return None
    if words[0] == "make":
        return step_of(recipe(words[1]))
    program = words[0].removeprefix(".venv/bin/")
    if program == "policylearn":
        return {"kind": "policylearn", "what": shortened([program, *words[1:]])}
    if program == "python" and words[1].endswith(".py"):
        return {"kind": "script", "what": words[1:]}
    raise AssertionError(f"no test knows how to run {' '.join(words)!r}: see the tables of {Path(__file__).name}")


def recipe(target: str) -> list[str]:
    """The last command of a target of the Makefile."""
    told = subprocess.run(
        ["make", "-n", "--no-print-directory", target], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return list(commands(told.stdout))[-1]


def shortened(words: list[str]) -> list[str]:
    """With the overrides that make it short, behind those it has."""
    key = listed(" ".join(words), SHORTER)
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    return [*words[:first], *SHORTER.get(key, []), *words[first:]]


def steps_of(block: Block) -> list[dict]:
    """What follow.py is to do for a block; TOML is a file if its first line names one."""
    if block.language in ELSEWHERE_BLOCKS or any(start in block.text for start in ELSEWHERE_BLOCKS):
        return []
    if block.language == "bash":
        return list(filter(None, map(step_of, commands(block.text))))
    if block.language == "python":
        code = block.text
        for long, short in SHORTER_PYTHON.items():
            code = code.replace(long, short)
        return [{"kind": "python", "what": code}]
    assert block.language == "toml", f"line {block.line}: no test knows how to run a block of {block.language!r}"
    if not (name := re.match(r"# (\S+\.toml)\n", block.text)):
        return [
            {
                "kind": "python",
                "what": f"from policylearn.config import Config\nConfig(**{tomllib.loads(block.text)!r})",
            }
        ]
    return [{"kind": "python", "what": f"from pathlib import Path\nPath({name[1]!r}).write_text({block.text!r})"}]


PLAN = [(f"{page}:{block.line}", block) for page in FOLLOWED for block in fenced(text_of(page))]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub that holds a small model, which reads letter by letter, of the name that the pages use."""
    folder = tmp_path_factory.mktemp("distilbert")
    vocabulary = {piece: i for i, piece in enumerate([*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])}
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
    DistilBertForMaskedLM(DistilBertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)
    with serving() as hub:
        hub.repositories["distilbert/distilbert-base-uncased"] = repository = Repository()
        repository.commit("main", {path.name: path.read_bytes() for path in folder.iterdir()})
        yield hub


@pytest.fixture(scope="module")
def outcomes(clone, follow, hub) -> dict[str, list[str]]:
    """Where a block stands → how each of its steps ended."""
    steps = [(where, step) for where, block in PLAN for step in steps_of(block)]
    ended = follow(clone, [step for _, step in steps], HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="0")
    found: dict[str, list[str]] = {where: [] for where, _ in PLAN}
    for (where, _), outcome in zip(steps, ended, strict=True):
        found[where].append(outcome)
    return found


@pytest.mark.parametrize("where", [where for where, _ in PLAN])
def test_a_block_of_a_page_runs(outcomes, where):
    assert not any(outcomes[where]), "\n".join(outcomes[where])


def test_the_tables_of_the_real_tasks_are_those_of_the_trials_that_were_kept(outcomes, clone):
    """README's `run.py --table` writes them again."""
    page = "experiments/real_tasks/README.md"
    assert outcomes and (clone / page).read_text(encoding="utf-8") == text_of(page)


@pytest.mark.parametrize(
    ("kind", "what", "expected"),
    [
        ("policylearn", ["policylearn", "train", "no.toml"], "no.toml does not exist"),
        ("script", ["no.py"], "no.py"),
        ("python", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_does_not_run_is_seen(kind, what, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    assert expected in following.follow(kind, what)


@pytest.mark.parametrize(("language", "text"), [("bash", "curl example.org"), ("rust", "fn main() {}"), ("", "ls")])
def test_a_block_of_a_kind_that_no_table_knows_is_seen(language, text):
    with pytest.raises(AssertionError, match="no test knows how to run"):
        steps_of(Block(1, language, text))


@pytest.mark.parametrize("key", [*SHORTER, *SHORTER_PYTHON, *ELSEWHERE, *ELSEWHERE_BLOCKS])
def test_the_tables_hold_nothing_that_no_page_has(key):
    assert any(key in block.text or key == block.language for _, block in PLAN)
