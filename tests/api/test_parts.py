"""Parts of a stranger's own module, in this process and on Ray workers, from the command line and from Python."""

import json
import os
import subprocess
import sys

import pytest
from pydantic import BaseModel

import policylearn as pl
from policylearn.arms.arms import initial_policy
from policylearn.cluster.ray_pool import RayPool
from policylearn.config import Config, load_config
from policylearn.config.parts import check_travels, own_parts, with_imports
from policylearn.data.planted import planted_task, planted_tokenizer
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import SCORERS
from policylearn.registry.registry import Origin, import_parts
from policylearn.runs.code import code_of_parts

MODULE = '''
import os
import time
import torch

import policylearn as pl
from policylearn.data.overview import describe_task
from policylearn.data.task import load_task
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import labelled_kind

with open(os.environ["WHO_IMPORTS"], "a") as file:
    print(os.getpid(), file=file)


@pl.scorer("class_words")
def class_words(sources):
    tokens = sources.tokenizer.convert_ids_to_tokens(range(len(sources.tokenizer)))
    return pl.Scores(torch.tensor([float(token.startswith("class")) for token in tokens]))


@pl.task("halves")
def halves():
    """Is it the first class?"""
    targets = lambda task, labels: torch.tensor([int(label == task.labels[0]) for label in labels])
    readout = lambda task, y: Classification(2)
    return labelled_kind("halves", Classification.metrics, load_task, describe_task, targets, readout)


@pl.metric("balanced", kind="halves")
def balanced(y, predicted):
    """A worker waits for the other, which on a busy machine is there when all is done."""
    seen, until = open(os.environ["WHO_IMPORTS"]).read().split(), time.time() + 100
    while str(os.getpid()) != seen[0] and len(set(seen)) < 3 and time.time() < until:
        time.sleep(0.1)
        seen = open(os.environ["WHO_IMPORTS"]).read().split()
    return float(sum((predicted[y == k] == k).mean() for k in (0, 1)) / 2)
'''
NAMES = {"policy.prior": {"class_words": 3.0}, "task.kind": "halves", "task.metric": "balanced"}
WORK = {
    **{"inner.steps": 4, "learn.rounds": 1, "learn.rollouts": 2},
    **{"evaluate.seeds": 2, "evaluate.arms": ["random", "class_words"]},
    "cluster.workers": 2,
}
PYTHON = """
import policylearn as pl, their_parts
run = pl.learn(config={config!r}, settings={settings!r}, out={out!r})
assert run.config.imports == ["their_parts"], run.config.imports
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_toml, tiny):
    """A folder with the module, a task and a config."""
    folder, config = tmp_path_factory.mktemp("their"), tiny()
    (folder / "their_parts.py").write_text(MODULE, encoding="utf-8")
    planted_tokenizer(config.planted).save_pretrained(folder / "tokenizer")
    for split, rows in planted_task(config.planted).splits.items():
        pairs = zip(rows.texts, rows.labels, strict=True)
        lines = [json.dumps({"text": text, "label": label}) for text, label in pairs]
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    own = f'imports = ["their_parts"]\n{tiny_toml.read_text()}[task]\npath = "."\n'
    (folder / "own.toml").write_text(own.replace("[model]", '[model]\ntokenizer = "tokenizer"'), encoding="utf-8")
    return folder


@pytest.fixture
def here(place, monkeypatch, tmp_path):
    """In that folder, which is not where Python looks; as after no import of it."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("WHO_IMPORTS", str(tmp_path / "who"))
    yield place
    sys.modules.pop("their_parts", None)  # what it registered is forgotten: another import is to do so again


def run(words, folder, who):
    """A command in a process that finds policylearn, but is not in the folder of the module."""
    environment = {**os.environ, "WHO_IMPORTS": str(who), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(("door", "workers"), [pytest.param("command", 2, marks=pytest.mark.long), ("python", 0)])
def test_a_run_has_the_parts_of_a_module(door, workers, place, tmp_path):
    """From Python its config names the module, and from then on the way to the workers is the command's."""
    who, out = tmp_path / "who", str(tmp_path / "run")
    text = (place / "own.toml").read_text().replace('imports = ["their_parts"]\n', "")
    (place / "plain.toml").write_text(text, encoding="utf-8")
    backend = {"cluster.backend": "ray" if workers else "local"}
    if door == "command":
        options = ["--import", "their_parts", "--out", out]
        done = run(
            ["-m", "policylearn", "train", "plain.toml", *overrides(NAMES | WORK | backend), *options], place, who
        )
    else:
        done = run(["-c", PYTHON.format(config="plain.toml", settings=NAMES | WORK | backend, out=out)], place, who)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metric"] == "balanced" and set(result["arms"]) == {"random", "class_words"}
    assert len(set(who.read_text().split())) == 1 + workers
    assert json.loads((tmp_path / "run" / "config.json").read_text())["imports"] == ["their_parts"]


def overrides(settings):
    """Settings as they are written on the command line."""
    return [f"{key}={json.dumps(value).replace(': ', '=')}" for key, value in settings.items()]


def test_a_config_names_the_module(here):
    config = load_config("own.toml", overrides(NAMES))
    assert list(own_parts(config)) == ["scorer 'class_words'", "kind 'halves'", "metric 'halves.balanced'"]
    assert with_imports(config) is config and not check_travels(config)
    problem = problem_of(config)
    assert problem.kind.score is not None and initial_policy(problem).scores.types.unique().tolist() == [0.0, 1.0]


def test_a_part_counts_where_its_name_may_stand_and_nowhere_else(tiny):
    for name in ("length", "planted", "random_token_ids", "my.scorer"):
        pl.scorer(name)(lambda sources: None)
    for name in ("f0.5", "idf"):
        pl.metric(name, kind="classification")(lambda y, predicted: 0.5)
    assert own_parts(tiny()) == {}
    prior = 'policy.prior={"my.scorer"=1.0, "length:rank"=1.0, idf=1.0}'
    config = tiny(prior, "task.metric=f0.5", "evaluate.custom={planted={prior={random_token_ids=1.0}}}")
    scorers = {f"scorer {name!r}" for name in ("length", "random_token_ids", "my.scorer")}
    assert own_parts(config).keys() == {*scorers, "metric 'classification.f0.5'"}
    assert code_of_parts(config, but={"evaluate", "task"}).keys() == {
        f"the code of scorer {name!r}" for name in ("length", "my.scorer")
    }


def test_so_does_a_part_that_settings_of_another_name(tiny):
    class Settings(BaseModel):
        of: str = ""
        length: dict[str, float] = {}

    for name in ("base", "far", "length", "mix", "other"):
        pl.scorer(name)(scorer := lambda sources: None)
        scorer.settings = Settings
    settings = 'scores.mix={of = "base:rank"}', "scores.base={length = {far = 1.0}}"
    named = {f"scorer {name!r}" for name in ("base", "far", "mix")}
    config = tiny("policy.prior={mix=1.0}", *settings)
    assert own_parts(config).keys() == named == own_parts(tiny(*settings)).keys()
    assert code_of_parts(config, but={"scores"}).keys() == {f"the code of {name}" for name in named}
    assert not code_of_parts(tiny(*settings), but={"scores"})


def test_a_module_that_is_not_there_or_raises_is_said(here, monkeypatch):
    with pytest.raises(ValueError, match=r"override imports=\[no_parts\]: imports: module 'no_parts' cannot be impor"):
        load_config("own.toml", ["imports=[no_parts]"])
    monkeypatch.setenv("WHO_IMPORTS", str(here / "no" / "folder"))
    with pytest.raises(ValueError, match="module 'their_parts' cannot be imported: FileNotFoundError"):
        import_parts(["their_parts"])


def test_what_is_registered_in_a_function_or_script_stays_in_its_process(here, tiny):
    @pl.scorer("mine")
    def mine(sources):
        return SCORERS.get("uniform")(sources)

    config = with_imports(tiny("policy.prior={mine=1.0}"))
    assert config.imports == [] and initial_policy(problem_of(config)).names == ["mine"]
    said = "scorer 'mine' comes from the function test_what_.*: set cluster.backend = \"local\", or put it at the top"
    with pytest.raises(ValueError, match=said):
        RayPool(config)
    exec('import policylearn as pl\npl.scorer("cell")(lambda sources: None)', {"__name__": "__main__"})
    with pytest.raises(ValueError, match="scorer 'cell' comes from a script or notebook, which other processes cannot"):
        pl.learn(settings={"policy.prior": {"cell": 1.0}, "cluster.backend": "ray"}, quiet=True)


def test_a_cell_that_is_run_again_replaces_what_it_added_and_nobody_else_does(here):
    cell = "import policylearn as pl\npl.scorer('cell')({})"
    for function in (len, sum):
        exec(cell.format(function.__name__), {"__name__": "__main__"})
        assert SCORERS.get("cell") is function
    with pytest.raises(ValueError, match="there is a scorer 'cell' already"):
        pl.scorer("cell")(len)
    with pytest.raises(ValueError, match="there is a scorer 'idf' already"):
        pl.scorer("idf")(len)


PARTS = """
import policylearn as pl

def add(name):
    pl.scorer(name)(lambda sources: None)

add("mine")
"""


def test_what_a_function_of_another_module_registers_is_of_the_module_whose_import_calls_it(tmp_path, monkeypatch):
    (tmp_path / "adds_parts.py").write_text(PARTS)
    (tmp_path / "calls_it.py").write_text("import adds_parts\nadds_parts.add('of another')\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_parts(["calls_it"])
    config = with_imports(Config.model_validate({"policy": {"prior": {"of another": 1.0}}}))
    check_travels(config)
    assert config.imports == ["calls_it"]


def test_a_file_that_is_imported_under_another_name_replaces_what_it_added_and_no_other_file_does(here, tmp_path):
    files = [tmp_path / "parts.py", tmp_path / "others.py"]
    for file in files:
        file.write_text(PARTS)
    code, other = (compile(PARTS, file, "exec") for file in files)
    for name in ("__main__", "parts", "pkg.parts"):
        exec(code, {"__name__": name})
    own = own_parts(Config.model_validate({"policy": {"prior": {"mine": 1.0}}}))
    assert own == {"scorer 'mine'": Origin("pkg.parts", "<module>")}  # importing it calls `add`
    with pytest.raises(ValueError, match=f"there is a scorer 'mine' already, of {files[0]}: choose another name"):
        exec(other, {"__name__": "others"})


def test_a_module_of_another_folder_than_this_one_which_has_one_of_its_name_is_told(here, monkeypatch, tmp_path):
    import_parts(["their_parts"])
    monkeypatch.chdir(tmp_path)
    import_parts(["their_parts"])
    (tmp_path / "their_parts.py").write_text("")
    with pytest.warns(UserWarning, match=f"'their_parts' is {here}/their_parts.py, and not {tmp_path}/their_parts.py"):
        import_parts(["their_parts"])


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("accuracy", "classification", "'classification' has a metric 'accuracy' already"),
        ("mine", "classifikation", "unknown kind 'classifikation'; .*did you mean 'classification'"),
        ("mine", "questions", "metrics of questions are methods of its own"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(name, kind, said):
    with pytest.raises(ValueError, match=said):
        pl.metric(name, kind=kind)
