"""What of a part's own module tells one way of writing it from another."""

import copy
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from sklearn.feature_extraction.text import CountVectorizer

import policylearn
from policylearn.runs.code import code_hash

BEFORE = """
from functools import partial
import numpy as np

FACTOR = 2
NAMES = {"a", "b", "c"}

def doubled(x):
    return FACTOR * x

class Base:
    def scale(self):
        return 3

class Mine(Base):
    def __call__(self, x):
        return [doubled(y) for y in x if y in NAMES] + [np.mean(x), self.scale()]

    @property
    def half(self):
        return 4

    @staticmethod
    def third(x=5):
        return lambda: x

def above(limit):
    return lambda x: x > limit

part = {part}
"""
WHERE = str(Path(policylearn.__file__).parents[1])
PARTS = ["Mine", "Mine()", "Mine().__call__", "partial(lambda x, m: m(x), m=Mine())", "lambda x: Mine()(x)"]
CHANGES = {
    "FACTOR = 2": "FACTOR = 9",
    "return FACTOR": "return 1 + FACTOR",
    '"a", "b"': '"a", "z"',
    "return 3": "return 9",
}


def elsewhere(tmp_path, part, seed):
    """The hash of a part of such a module, in a process of its own, where sets have another order."""
    (tmp_path / "their_parts.py").write_text(BEFORE.replace("{part}", part))
    code = "import their_parts; from policylearn.runs.code import code_hash; print(code_hash(their_parts.part))"
    given = {"cwd": tmp_path, "env": os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": WHERE}}
    return subprocess.run([sys.executable, "-B", "-c", code], check=True, capture_output=True, **given).stdout


def here(part, old="", new=""):
    names: dict[str, object] = {"__name__": "their_parts"}
    exec(textwrap.dedent(BEFORE.replace("{part}", part)).replace(old or "#", new), names)
    return code_hash(names["part"])


@pytest.mark.parametrize("part", PARTS)
def test_all_of_its_own_module_that_a_part_uses_counts(part):
    assert here(part) == here(part)
    for old, new in CHANGES.items():
        assert here(part, old, new) != here(part), old


def test_comments_and_what_it_does_not_use_do_not_count():
    for old, new in {"def above": "# said\n\n\ndef above", "x > limit": "x < limit"}.items():
        assert here("Mine", old, new) == here("Mine")
    assert here("Mine", "return 4", "return 9") != here("Mine") and here("Mine", "x=5", "x=9") != here("Mine")


def test_what_a_function_encloses_counts():
    assert here("above(1)") == here("above(1)") != here("above(2)")


def test_it_is_the_same_in_another_process(tmp_path):
    assert elsewhere(tmp_path, "Mine()", "1") == elsewhere(tmp_path, "Mine()", "2")


OF_ELSEWHERE = """
import numpy as np
import torch

from policylearn.adapt.chosen import Adaptation
from policylearn.data.overview import describe_task
from policylearn.data.task import load_task
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import labelled_kind
from somewhere import wrapped

def own(*given):
    return 3

def kind():
    return labelled_kind("mine", ("accuracy",), load_task, describe_task, own, lambda labels, y: Classification(2))

part = {part}
"""
WRAPPER = """
def wrapped(function):
    def wrapper(*given):
        return function(*given)
    return wrapper
"""


@pytest.mark.parametrize("part", ["kind()", "Adaptation(len, own)", "np.vectorize(own)", "wrapped(own)"])
def test_what_an_object_of_elsewhere_holds_of_the_module_that_brings_it_counts(part, monkeypatch):
    monkeypatch.setitem(sys.modules, "somewhere", somewhere := ModuleType("somewhere"))
    exec(WRAPPER, vars(somewhere))
    parts = []
    for source in (OF_ELSEWHERE, OF_ELSEWHERE, OF_ELSEWHERE.replace("return 3", "return 9")):
        names: dict[str, object] = {"__name__": "their_parts"}
        exec(source.replace("{part}", part), names)
        parts.append(names["part"])
    first, same, other = (code_hash(part, "their_parts") for part in parts)
    assert first == same != other
    assert len({code_hash(part, "their_parts", way=1) for part in parts}) == 1  # as older runs have it


REMEMBERING = """
def remembering(function, kept):
    def inner(x):
        if x not in kept:
            kept[x] = function(x)
        return kept[x]
    return inner

def half_made():
    if False:
        function = len
    return lambda x: function(x)

"""


def test_what_a_function_of_elsewhere_remembers_does_not_count(monkeypatch):
    monkeypatch.setitem(sys.modules, "somewhere", somewhere := ModuleType("somewhere"))
    exec(WRAPPER + REMEMBERING, vars(somewhere))
    names: dict = {"__name__": "their_code"}
    for value in (3, 9):
        source = (
            f"def own(x):\n    return {value}\nkept = wrapped(remembering(own, {{}}))\ndef part(x):\n    return kept(x)"
        )
        exec(f"from somewhere import remembering, wrapped\n{source}", names)
        before, _ = code_hash(part := names["part"], "their_parts"), part(1)
        assert code_hash(part, "their_parts") == before
        names[f"hash {value}"] = before
    assert names["hash 3"] != names["hash 9"]  # what it was given of the module does
    assert code_hash(somewhere.half_made(), "their_parts")  # of which a variable has no value yet


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_its_own_module_is_the_same_whoever_says_so(part):
    names: dict[str, object] = {"__name__": "their_parts"}
    exec(BEFORE.replace("{part}", part), names)
    assert code_hash(names["part"], "their_parts") == code_hash(names["part"])


HELD = {
    "a pattern": ("import re; A = re.compile('{}+')", "a", "b"),
    "an array": ("import numpy as np; A = np.array([1, {}])", "2", "3"),
    "an array of objects": ("import numpy as np; A = np.array(['a', {}], dtype=object)", "'b'", "'c'"),
    "a tensor": ("import torch; A = torch.tensor([1, {}], dtype=torch.bfloat16)", "2", "3"),
    "a module": ("import torch; torch.manual_seed({}); A = torch.nn.Linear(2, 2)", "1", "2"),
    "a number": ("from decimal import Decimal; A = Decimal({})", "1", "2"),
    "a range": ("A = range({})", "1", "2"),
    "a queue": ("from collections import deque; A = deque([{}])", "1", "2"),
    "slots": ("class B:\n    __slots__ = 'x'\nA = B(); A.x = {}", "1", "2"),
    "a default": ("from pydantic import BaseModel\nclass A(BaseModel):\n    x: float = {}", "1", "2"),
    "a factory": ("from pydantic import BaseModel, Field\nclass A(BaseModel):\n    x: list = {}", "[]", "[1]"),
    "a bound": ("from pydantic import *\nclass A(BaseModel):\n    x: float = Field(ge={})", "1", "2"),
}


@pytest.mark.parametrize("held", HELD)
def test_what_objects_of_elsewhere_hold_counts(held):
    template, one, other = HELD[held]

    def hashed(value):
        names: dict[str, object] = {"__name__": "their_parts"}
        exec(f"{template.format(value)}\ndef part(x):\n    return A", names)
        return code_hash(names["part"])

    assert hashed(one) == hashed(one) != hashed(other)


def test_where_in_memory_something_is_does_not_count():
    def hashed(word):
        fitted = CountVectorizer(stop_words=[word]).fit(["a bb cc", "cc dd"])
        names: dict[str, object] = {"__name__": "their_parts", "A": fitted}
        exec("def part(x):\n    return A.transform(x)", names)
        return names["A"], code_hash(names["part"])

    (one, before), (other, after) = hashed("bb"), hashed("bb")
    assert one._stop_words_id != other._stop_words_id and before == after != hashed("cc")[1]


def test_what_cannot_be_pickled_or_is_of_the_surroundings_does_not_count(monkeypatch):
    def hashed():
        names: dict[str, object] = {"__name__": "their_parts"}
        exec("import os, threading\nA = threading.Lock()\nB = os.environ\ndef part(x):\n    return A, B", names)
        return code_hash(names["part"])

    before = hashed()
    monkeypatch.setenv("POLICYLEARN_TEST", "1")
    assert hashed() == before


USED = {
    "a generator": ("import random; A = random.Random(0)", "A.random()"),
    "numpy's": ("import numpy as np; A = np.random.default_rng(0)", "A.random()"),
    "numpy's bits": ("import numpy as np; A = np.random.PCG64(0)", "A.random_raw()"),
    "torch's": ("import torch; A = torch.Generator()", "torch.rand(1, generator=A)"),
    "a module": (
        "import torch; A = torch.nn.Sequential(torch.nn.Linear(2, 2))",
        "A.eval()(torch.ones(2)).sum().backward()",
    ),
}


@pytest.mark.parametrize("used", USED)
def test_use_of_an_object_does_not_count(used):
    made, use = USED[used]
    names: dict[str, object] = {"__name__": "their_parts"}
    exec(f"{made}\ndef part():\n    {use}\n", names)
    before = code_hash(names["part"])
    names["part"]()  # type: ignore[operator]
    assert code_hash(names["part"]) == before


def test_of_a_tokenizer_its_words_count_and_not_how_it_was_used(wordpiece):
    tokenizer = copy.deepcopy(wordpiece)

    def part():
        return tokenizer("ba be", truncation=True, max_length=3, padding="max_length")

    part.__module__, before = __name__, code_hash(part)
    part()
    assert code_hash(part) == before
    tokenizer.add_tokens(["bababa"])
    assert code_hash(part) != before


@pytest.mark.parametrize("held", HELD)
def test_as_before_objects_of_elsewhere_do_not_count(held):
    template, one, other = HELD[held]
    hashes = set()
    for value in (one, other):
        names: dict[str, object] = {"__name__": "their_parts"}
        exec(f"{template.format(value)}\ndef part(x):\n    return A", names)
        hashes |= {code_hash(names["part"], way=0)}
    assert len(hashes) == 1
