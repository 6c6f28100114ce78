"""A tiny task of questions, and a BART that is to answer them by heart; texts with numbers."""

import json

import numpy as np
import pytest
from transformers import BertTokenizer

from policylearn.config import PlantedConfig, load_config
from policylearn.data.planted import domain_corpus, planted_task, planted_tokenizer
from policylearn.problems.of_config import problem_of

WORDS = [f"generic_{i:03}" for i in range(12)]
ARCHITECTURE = (
    'model_type="bart", d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, '
    "decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, init_std=0.1"
)


def rows(n, seed):
    """The answer to a question is the word after its first one; there are four choices."""
    draw = np.random.default_rng(seed)
    for _ in range(n):
        first, *others = draw.permutation(12)[:4].tolist()
        answer = WORDS[(first + 1) % 12]
        choices = sorted({answer, *(WORDS[i] for i in others)})
        yield {"question": f"{WORDS[first]} {WORDS[0]}", "answers": [answer, "spelt otherwise"], "choices": choices}


@pytest.fixture(scope="session")
def asked_rows():
    """Of every split."""
    return {split: list(rows(n, seed)) for seed, (split, n) in enumerate({"train": 40, "dev": 20, "test": 20}.items())}


@pytest.fixture(scope="session")
def asked(tmp_path_factory, tiny_toml, asked_rows):
    """`asked("inner.steps=4", …)`: a tiny config of a BART that is to answer questions."""
    folder = tmp_path_factory.mktemp("asked")
    for split, found in asked_rows.items():
        lines = "\n".join(map(json.dumps, found))
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    planted = PlantedConfig(class_words=4, distractor_words=6, generic_words=12)
    planted_tokenizer(planted).save_pretrained(folder / "tokenizer")
    text = tiny_toml.read_text(encoding="utf-8")
    start, end = text.index("[model]"), text.index("[planted]")
    model = f'[model]\nmax_length = 16\ntokenizer = "{folder / "tokenizer"}"\narchitecture = {{{ARCHITECTURE}}}\n'
    task = f'[task]\npath = "{folder}"\ntext = "question"\nanswers = "answers"\nchoices = "choices"\n'
    task += 'metric = "likelihood"\nanswer_length = 6\n'
    path = folder / "asked.toml"
    path.write_text(text[:start] + model + task + text[end:], encoding="utf-8")
    fixed = ["outer.adaptation=finetune", "outer.steps=2", "outer.batch_size=8", 'evaluate.downstream=["finetune"]']
    fixed += ["policy.prior={}", "inner.learning_rate=0.003", "outer.learning_rate=0.1"]
    return lambda *overrides: load_config(path, [*fixed, *overrides])


@pytest.fixture
def problem(asked):
    return problem_of(asked())


@pytest.fixture(scope="session")
def counts(tmp_path_factory):
    """Documents of the planted benchmark, each with the number of its words of class 1 less those of class 0, × 10."""
    folder, planted = tmp_path_factory.mktemp("counts"), PlantedConfig(train=200, dev=120, test=120)
    planted_tokenizer(planted).save_pretrained(folder / "tokenizer")
    for split, rows in planted_task(planted).splits.items():
        lines = [
            json.dumps({"text": text, "label": 10.0 * (text.count("class1") - text.count("class0"))})
            for text in rows.texts
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def counted(tiny, counts):
    return lambda *more: tiny(
        f"task.path={counts}", "task.kind=regression", f"model.tokenizer={counts / 'tokenizer'}", *more
    )


@pytest.fixture(scope="session")
def tagged(tmp_path_factory):
    """Documents of the planted benchmark, each with the classes that it has words of; none have none."""
    folder, planted = tmp_path_factory.mktemp("tagged"), PlantedConfig(train=200, dev=120, test=120)
    planted_tokenizer(planted).save_pretrained(folder / "tokenizer")
    for split, rows in planted_task(planted).splits.items():
        found = [[f"class{c}" for c in (0, 1) if f"class{c}" in text] for text in rows.texts]
        found = [labels + ["even"] * (i % 2 == 0) for i, labels in enumerate(found)]
        lines = [json.dumps({"text": t, "labels": y}) for t, y in zip(rows.texts, found, strict=True)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def labelled(tiny, tagged):
    """`labelled("inner.steps=4", …)`: a tiny config of texts with lists of labels."""
    return lambda *more: tiny(
        f"task.path={tagged}",
        "task.kind=multilabel",
        "task.label=labels",
        f"model.tokenizer={tagged / 'tokenizer'}",
        *more,
    )


@pytest.fixture(scope="session")
def paired(tmp_path_factory):
    """Pairs of documents of the planted benchmark with the class of the first, and the tokenizer of a BERT."""
    folder, planted = tmp_path_factory.mktemp("paired"), PlantedConfig(train=200, dev=60, test=60, length=6)
    words = sorted(plain(token) for token in planted_tokenizer(planted).get_vocab() if not token.startswith("["))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    BertTokenizer(vocab={token: i for i, token in enumerate([*special, *words])}).save_pretrained(folder / "tokenizer")
    (folder / "domain.txt").write_text("\n".join(map(plain, domain_corpus(planted)[:200])), encoding="utf-8")
    for split, rows in planted_task(planted).splits.items():
        texts = list(map(plain, rows.texts))
        found = zip(texts, reversed(texts), rows.labels, strict=True)
        lines = [json.dumps({"text": a, "text_pair": b, "label": y}) for a, b, y in found]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def plain(text):
    """In which a BERT's tokenizer finds words alone."""
    return text.replace("_", "")


@pytest.fixture
def of_pairs(tiny, paired):
    """`of_pairs("inner.steps=4", …)`: a tiny config of pairs with classes."""
    own = (f"task.path={paired}", f"domain.path={paired / 'domain.txt'}", f"model.tokenizer={paired / 'tokenizer'}")
    return lambda *more: tiny(*own, "policy.prior={}", *more)


@pytest.fixture(scope="session")
def named(tmp_path_factory):
    """Documents of the planted benchmark as lists of words, those of a class being entities of its type."""
    folder, planted = tmp_path_factory.mktemp("named"), PlantedConfig(train=80, dev=40, test=40, length=8)
    planted_tokenizer(planted).save_pretrained(folder / "tokenizer")
    for split, rows in planted_task(planted).splits.items():
        found = [text.split() for text in rows.texts]
        tags = [[f"B-{word[:6]}" if word.startswith("class") else "O" for word in words] for words in found]
        lines = [json.dumps({"tokens": words, "tags": own}) for words, own in zip(found, tags, strict=True)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def of_tags(tiny, named):
    """`of_tags("inner.steps=4", …)`: a tiny config of words with tags."""
    own = (f"task.path={named}", f"model.tokenizer={named / 'tokenizer'}", "policy.prior={}")
    return lambda *more: tiny(*own, *more)
