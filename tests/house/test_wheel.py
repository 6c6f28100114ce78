"""`python -m build`, as README says: what is in the wheel and the sources, and that it works by itself."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TRACKED = subprocess.check_output(["git", "ls-files"], cwd=REPOSITORY, text=True).splitlines()
PACKAGE = {name for name in TRACKED if name.startswith("policylearn/") and (REPOSITORY / name).is_file()}
STRAY = ("runs/demo/policy/policy.safetensors", ".venv/lib/module.py", "notes.txt", "policylearn/__pycache__/x.pyc")

BARE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"datasets", "higher", "matplotlib", "pyarrow", "ray", "rich", "sklearn", "typer"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
"""Python without the packages that only the extra `train` brings."""

COLLATE = """
from policylearn import PolicyCollator
collator = PolicyCollator.from_pretrained({policy!r})
print((collator([{{"input_ids": collator.tokenizer("class0_01 generic_003")["input_ids"]}}])["labels"] != -100).any())
"""
COMMAND = "import sys\nfrom policylearn.__main__ import main\nsys.argv = ['policylearn', *{words!r}]\nmain()"
PAGES = """
from policylearn.report.page import environment
templates = environment()
print(sorted(name for name in templates.list_templates() if name.endswith(".html") and templates.get_template(name)))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sources and the wheel, of a checkout in which other things lie about."""
    checkout, dist = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in TRACKED:
        if (REPOSITORY / name).is_file() and not name.startswith("experiments/"):
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, checkout / name)
    for name in STRAY:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x", encoding="utf-8")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """`installed(code)`: code run by a Python that has the wheel and no checkout."""
    folder, elsewhere = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    wheel.extractall(folder)

    def run(code: str) -> subprocess.CompletedProcess:
        own = f"import policylearn\nassert policylearn.__file__.startswith({str(folder)!r}), policylearn.__file__\n"
        environment = {**os.environ, "PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", own + code]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)

    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == PACKAGE
    assert {"policylearn/py.typed", "policylearn/report/style.css", "policylearn/report/template.html"} <= names


def test_the_wheel_says_what_it_needs_and_has_the_command(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    told = message_from_string(wheel.read(metadata).decode())
    needed = [line for line in told.get_all("Requires-Dist") if "extra ==" not in line]
    assert {line.split(">")[0] for line in needed} == {
        *("huggingface-hub", "numpy", "pydantic", "safetensors", "torch", "transformers")
    }
    assert set(told.get_all("Provides-Extra")) == {"train", "tagging", "track", "test-peers", "dev", "vision"}
    (commands,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "policylearn = policylearn.__main__:main" in wheel.read(commands).decode()


def test_the_sources_hold_what_is_named_and_nothing_that_lies_about(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    configs = {name for name in TRACKED if name.startswith("configs/") and (REPOSITORY / name).is_file()}
    single = {"README.md", "LICENSE", "CONTRIBUTING.md", "constraints.txt", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert names == PACKAGE | configs | single


def test_pages_are_made_from_the_wheel(installed):
    done = installed(PAGES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(Path(name).name for name in PACKAGE if name.endswith(".html")))


def test_a_collator_works_without_the_extra(installed, saved_policy):
    done = installed(BARE + COLLATE.format(policy=str(saved_policy)))
    assert (done.returncode, done.stdout.strip()) == (0, "tensor(True)"), done.stderr


@pytest.mark.parametrize("words", [["train"], ["score", "--scorer", "tficf"], ["--help"], []])
def test_a_command_that_lacks_the_extra_says_in_one_line_what_to_install(installed, words):
    done = installed(BARE + COMMAND.format(words=words))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("pip install 'policylearn[train]'\n"), done.stderr
