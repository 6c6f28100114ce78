import io
import json

import pytest
from rich.console import Console

from policylearn.commands.train import train
from policylearn.data.planted import domain_corpus


@pytest.fixture(scope="session")
def questions(tiny, tmp_path_factory):
    """A folder of questions about planted documents, the answers to which are their class words."""
    folder, texts = tmp_path_factory.mktemp("questions", numbered=False), list(domain_corpus(tiny().planted))
    for name, part in (("train", texts[:60]), ("dev", texts[60:])):
        lines = [json.dumps(question(text, word)) for text in part for word in text.split() if word.startswith("class")]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def question(text: str, word: str) -> dict:
    return {"context": text, "answers": [word], "answer_start": [text.index(word)], "is_impossible": False}


@pytest.fixture(scope="session")
def supervised(tiny, questions):
    """`supervised("supervised.epochs=2", …)`: a tiny config that learns from the answers, with overrides."""
    own = (
        "learn.stages=[supervised]",
        f"supervised.path={questions}",
        "supervised.epochs=3",
        "supervised.learning_rate=0.05",
        "policy.prior={}",
        "policy.network=span",
        "policy.features=8",
        "policy.hidden=12",
        "masking.unit=span",
        "masking.rate=0.25",
        "evaluate.seeds=0",
    )
    return lambda *overrides: tiny(*own, *overrides)


@pytest.fixture(scope="session")
def learned_answers(supervised, tmp_path_factory):
    """The folder of a finished run; not to be written to."""
    folder = tmp_path_factory.mktemp("supervised") / "run"
    train(supervised(), folder, Console(file=io.StringIO()), command="policylearn train answers.toml")
    return folder
