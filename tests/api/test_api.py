"""What policylearn is from Python: names, signatures, what may be given, what comes back."""

import contextlib
import inspect
import io
import json
import os
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import pyarrow
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, List, Value
from datasets import Image as Picture
from pandas import DataFrame, Series
from PIL import Image
from rich.console import Console

import policylearn as pl
from policylearn.api.inputs import Inputs
from policylearn.api.learn import Learned
from policylearn.api.results import from_anywhere
from policylearn.api.settings import Given, experiment
from policylearn.api.surroundings import surroundings
from policylearn.config import PlantedConfig, load_config
from policylearn.config.recipe import RECIPE
from policylearn.data.corpora import open_corpus
from policylearn.data.planted import domain_corpus, planted_task, planted_tokenizer
from policylearn.data.records import read_records
from policylearn.models.device import add_in_one_order
from policylearn.registry.known import KINDS

from ..conftest import tiny_bert

CONFIGS = Path(__file__).parents[2] / "configs"

WORDS = PlantedConfig(train=100, dev=20, test=20, documents=60)
SHORT = {"inner.steps": 4, "credit.points": 1, "credit.batches": 2, "model.max_length": 32}
EXPERIMENT = "model=None, task=None, domain=None, general=None"
SIGNATURES = {
    "learn": f"({EXPERIMENT}, *, tokenizer=None, out='runs/learn', config=None, settings=None, fresh=False, "
    "quiet=False)",
    "evaluate": f"(policies=None, arms=None, seeds=None, *, {EXPERIMENT}, tokenizer=None, out='runs/evaluate', "
    "config=None, settings=None, quiet=False)",
    "diagnose": f"({EXPERIMENT}, *, tokenizer=None, config=None, settings=None, quiet=False)",
    "score": f"(scorer, {EXPERIMENT}, *, tokenizer=None, top=20, config=None, settings=None, quiet=False)",
    "load_policy": "(source, revision=None)",
    "save_policy": "(folder, artefact, card)",
    "scorer": "(name)",
    "task": "(name)",
    "metric": "(name, kind)",
    "objective": "(name)",
    "estimator": "(name)",
}


@pytest.fixture(scope="module")
def splits():
    """Rows of text and label by split."""
    found = planted_task(WORDS).splits
    return {n: [{"text": t, "label": x} for t, x in zip(s.texts, s.labels, strict=True)] for n, s in found.items()}


@pytest.fixture(scope="module")
def words():
    return planted_tokenizer(WORDS)


def given_as(form, splits):
    """The same labelled rows in every form that they may be given in."""
    columns = {name: {key: [row[key] for row in rows] for key in rows[0]} for name, rows in splits.items()}
    return {
        "rows by split": splits,
        "columns by split": columns,
        "data frames": {name: DataFrame(rows) for name, rows in splits.items()},
        "data sets": {name: Dataset.from_list(rows) for name, rows in splits.items()},
        "DatasetDict": DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}),
    }[form]


@pytest.mark.parametrize("name", pl.__all__)
def test_public_names_are_there_and_say_what_they_are(name):
    assert name in dir(pl) and name in pl.__doc__ and getattr(pl, name).__doc__


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_stay_as_they_are_and_are_typed(name):
    found = inspect.signature(getattr(pl, name))
    assert all(part.annotation is not part.empty for part in found.parameters.values())
    bare = [part.replace(annotation=part.empty) for part in found.parameters.values()]
    assert str(found.replace(parameters=bare, return_annotation=found.empty)) == SIGNATURES[name]


def test_a_name_that_is_not_public_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'lern'"):
        pl.lern  # noqa: B018


@pytest.mark.parametrize("form", [list, tuple, Series, lambda texts: DataFrame({"text": texts})])
def test_texts_in_any_form_are_the_same_corpus(form, tmp_path):
    texts = ["class0_01 generic_003", "generic_004"]
    place = Inputs(tmp_path / "run").texts("domain", form(texts), "text")
    rows = [json.loads(line) for line in Path(place).read_text().splitlines()]
    assert rows == [{"text": text} for text in texts]


@pytest.mark.parametrize("form", ["rows by split", "columns by split", "data frames", "data sets", "DatasetDict"])
def test_labelled_rows_in_any_form_are_the_same_task(form, splits, words, tmp_path):
    place = Inputs(tmp_path).task(given_as(form, splits))
    config = load_config(None, [f"task.path={place}"])
    read = KINDS.get("classification").read(config.task).splits
    assert {name: [*map(len, (s.texts, s.labels))] for name, s in read.items()} == {
        name: [len(rows)] * 2 for name, rows in splits.items()
    }
    assert read["train"].texts == [row["text"] for row in splits["train"]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([["a text", "a label"]], r"task: a row is \['a text'.*give rows such as"),
        ({"text": ["a", "b"], "label": [1]}, "task: columns of different lengths"),
        ([{"text": "a", "label": {1, 2}}], "task: column 'label' of a row cannot be written as JSON: it holds"),
        ([{"text": "a", "label": b"x"}], "task: column 'label' of a row .* holds a bytes; drop it, or write"),
        ({"text": "one row", "label": 1}, "task: column 'text' is one value, 'one row': give a list of rows"),
        ({"text": ["one row"], "label": 1}, "task: column 'label' is one value, 1: give a list of rows"),
        (Dataset.from_dict({"text": ["a"], "label": [0]}).with_transform(dict), r"task: .* transform .* use \.map"),
        ({"train": Dataset.from_dict({"text": ["a"]}).with_transform(dict)}, r"task\['train'\]: .* transform"),
    ],
)
def test_rows_that_are_none_are_refused(given, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        Inputs(tmp_path).task(given)


class Polars:
    """What of a data frame of polars is asked for here."""

    def __init__(self, rows):
        self.columns, self.to_dicts = list(rows[0]), lambda: rows

    def to_dict(self, *, as_series=True):
        raise AssertionError


@pytest.mark.parametrize("form", [Polars, pyarrow.Table.from_pylist])
def test_tables_of_others_are_read_by_their_rows(form, splits, tmp_path):
    rows, texts = splits["train"], [{"text": "a"}, {"text": "b"}]
    assert Inputs(tmp_path).task(form(rows)) == Inputs(tmp_path).task(rows)
    assert Inputs(tmp_path).texts("domain", form(texts), "text") == Inputs(tmp_path).texts("domain", texts, "text")


def test_halves_of_surrogate_pairs_are_read_as_those_of_a_file_are(tmp_path):
    place = Inputs(tmp_path).texts("domain", ["helps \ud83d patients", "naïve"], "text")
    with pytest.warns(UserWarning, match=r"U\+FFFD is read in place of halves of surrogate pairs"):
        found = [row["text"] for row in read_records(place, ["text"], text="text")]
    assert found == ["helps \ufffd patients", "naïve"] and "naïve" in Path(place).read_text(encoding="utf-8")


def test_columns_that_nobody_reads_may_hold_what_they_like(splits, tmp_path):
    day, train = datetime(2026, 1, 1), splits["train"]
    dated = [row | {"day": day} for row in train]
    place = Inputs(tmp_path).task({**splits, "train": dated})
    assert next(read_records(f"{place}/train.jsonl", ["day"]))["day"] == "2026-01-01T00:00:00"


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"x", b"y"), ([b"x"], [b"y"]), (Decimal("1.5"), Decimal("2.5")), (timedelta(1), timedelta(2))],
)
def test_columns_that_json_has_not_tell_data_sets_apart(one, other, splits, tmp_path):
    first, again, second = (
        Dataset.from_list([row | {"raw": value} for row in splits["train"]]) for value in (one, one, other)
    )
    assert Inputs(tmp_path).task(first) == Inputs(tmp_path).task(again) != Inputs(tmp_path).task(second)


SCAN = Image.new("RGB", (4, 4))


@pytest.mark.parametrize(("kind", "scans"), [(List(Picture()), [SCAN]), ({"front": Picture()}, {"front": SCAN})])
def test_pictures_within_a_column_are_not_told_apart_by_where_they_are_in_memory(kind, scans, tmp_path):
    features = Features({"text": Value("string"), "scans": kind})
    rows = Dataset.from_dict({"text": ["a"], "scans": [scans]}, features)
    with pytest.raises(ValueError, match=r"^task: column 'scans' .*: it holds a PngImageFile; drop it"):
        Inputs(tmp_path).task(rows)
    assert not list(tmp_path.iterdir())


def test_objects_given_again_are_found_and_others_are_another_place(splits, tmp_path):
    one = Inputs(tmp_path).task(splits)
    assert Inputs(tmp_path).task(json.loads(json.dumps(splits))) == one
    assert Inputs(tmp_path).task(splits | {"dev": splits["dev"][1:]}) != one
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file: name a folder"):
        Inputs(tmp_path / "file").task(splits)
    with pytest.raises(ValueError, match="task is given as an object, which cannot be written to s3://bucket/run"):
        Inputs("s3://bucket/run").task(splits)


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow"])
@pytest.mark.parametrize("columns", [None, ["label"]])
def test_the_format_of_a_data_set_changes_nothing(form, columns, splits, tmp_path):
    plain = Dataset.from_list(splits["train"])
    formatted = plain.with_format(form, columns=columns)
    cleaned = plain.map(lambda row: {"text": row["text"].upper()}).with_format(form, columns=columns)
    for splits_of in (lambda rows: rows, lambda rows: DatasetDict(train=rows), lambda rows: {"train": rows}):
        given, same, other = (Inputs(tmp_path).task(splits_of(rows)) for rows in (formatted, plain, cleaned))
        assert given == same != other
    formatted.save_to_disk(tmp_path / "saved")
    assert list(read_records(str(tmp_path / "saved"), ["text", "label"])) == splits["train"]


@pytest.fixture(scope="module")
def learned(splits, words, tmp_path_factory):
    """A run of objects alone, and what it said."""
    folder, model = tmp_path_factory.mktemp("api") / "run", tiny_bert(len(words))
    texts = list(domain_corpus(WORDS))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run = pl.learn(model, splits, texts, texts, tokenizer=words, out=folder, settings=SHORT)
    return (
        run,
        said.getvalue(),
        lambda **more: pl.learn(model, splits, texts, texts, tokenizer=words, out=folder, **more),
    )


def test_a_run_of_objects_is_one_of_the_command_line(learned, policylearn):
    run, said, _ = learned
    line = f"policylearn train {run.out}/config.json --out {run.out}"
    assert f"inputs  model, task, domain, general kept in {run.out}/inputs" in said and line in said
    status, out, _ = policylearn(*line.split()[1:])
    assert status == 0 and f"{run.out} is finished" in out


def test_of_what_is_kept_no_more_is_said_than_is_true(splits, words, tmp_path, capsys):
    given = {"task": splits, "domain": ["class0_01 generic_003"], "tokenizer": words}
    pl.evaluate(arms=["none"], seeds=1, out=tmp_path, settings=SHORT, **given)
    said = " ".join(capsys.readouterr().out.split())
    assert "inputs tokenizer, task, domain kept in" in said and "policylearn train" not in said
    pl.score("idf", **given)
    assert "inputs" not in capsys.readouterr().out


def test_a_run_given_the_same_again_is_finished_and_other_data_are_refused(learned):
    run, _, again = learned
    assert again(settings=SHORT, quiet=True).result == run.result
    with pytest.raises(ValueError, match=r"holds a run with other settings \(inner\.steps was 4, now 5\)"):
        again(settings=SHORT | {"inner.steps": 5}, quiet=True)


def test_a_call_that_is_refused_leaves_nothing_in_the_run_of_another(learned, splits):
    run, _, _ = learned
    before = sorted(Path(run.out, "inputs").rglob("*"))
    for call in (pl.learn, pl.evaluate):
        with pytest.raises(ValueError):
            call(task=splits["train"], domain=["one text"], out=run.out, settings={"inner.stepz": 5}, quiet=True)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        pl.learn(task=splits["train"], domain=["one text"], out=run.out, settings=SHORT, quiet=True)
    assert sorted(Path(run.out, "inputs").rglob("*")) == before and before


def test_the_policy_of_a_run_masks_shows_itself_and_is_compared(learned, words, splits):
    run, _, _ = learned
    text = splits["train"][0]["text"]
    batch = pl.PolicyCollator(run.policy, words)([{"input_ids": words(text)["input_ids"]}])
    assert (batch["labels"] != -100).any()
    assert (
        "[word .63] = the likeliest" in repr(run.policy.show(text))
        and "<span title=" in run.policy.show([text])._repr_html_()
    )
    assert "srcdoc" in run.report()._repr_html_() and run.report().place.endswith("report.html")
    found = run.evaluate(seeds=2, quiet=True)
    assert {arm: len(scores) for arm, scores in found.scores.items()} == {"random": 2, "learned": 2}
    given = {"out": f"{run.out}/evaluate", "config": run.config, "settings": {"name": "again"}, "quiet": True}
    again = pl.evaluate(run.policy, ["random"], seeds=2, **given)
    assert again.scores == found.scores and "vs random" in repr(again)


def test_without_a_domain_the_training_texts_are_it(splits, words, tmp_path, capsys):
    settings = {"credit.batches": 2, **SHORT}
    found = experiment("train", Given(task=splits["train"], tokenizer=words, settings=settings), tmp_path, Console())
    texts = [text for text in open_corpus(found, "domain")]
    train = KINDS.get("classification").read(found.task).splits["train"].texts
    assert texts == train and len(texts) < len(splits["train"])  # dev and test are carved off
    assert f"none is given: the texts of the {len(texts)} rows of the task's train split" in capsys.readouterr().out


def test_a_table_of_settings_is_of_a_section_and_leaves_the_rest_of_it(splits, words, tmp_path):
    given = SHORT | {"inner.steps": 3, "task.text": "text"}
    tables = {name: value for name, value in SHORT.items() if name != "inner.steps"}
    tables |= {"inner": {"steps": 3}, "task": {"text": "text"}}
    made = [
        experiment("train", Given(task=splits, tokenizer=words, settings=each), tmp_path / "run", Console(quiet=True))
        for each in (given, tables)
    ]
    assert made[0] == made[1] and made[0].inner.batch_size == RECIPE["inner"]["batch_size"]


NUMBERS = [f"{i}" for i in range(100)]


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        (
            [{"tokens": ["Aspirin", "helps,", n], "tags": ["B-Drug", "O", "O"]} for n in NUMBERS],
            lambda n: [f"Aspirin helps, {n}"],
        ),
        (
            [{"text": f"Aspirin  helps, {n}", "spans": [{"start": 0, "end": 7, "label": "Drug"}]} for n in NUMBERS],
            lambda n: [f"Aspirin  helps, {n}"],
        ),
        (
            [{"text": f"a {n}", "text_pair": f"b {n}", "label": int(n) % 2} for n in NUMBERS],
            lambda n: [f"a {n}", f"b {n}"],
        ),
    ],
)
def test_without_a_domain_a_row_is_a_text_and_a_pair_two(rows, texts, tmp_path, capsys):
    found = list(open_corpus(experiment("train", Given(task=rows), tmp_path, Console()), "domain"))
    each = len(texts("0"))
    assert set(found) < {text for n in NUMBERS for text in texts(n)} and len(set(found)) == len(found)
    assert f"the texts of the {len(found) // each} rows" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("label", [["a"], 0.5])
def test_a_config_and_the_file_it_is_of_are_one_experiment(label, tmp_path):
    (tmp_path / "x.toml").write_text('[task]\nlabel = "y"\n[inner]\nsteps = 20\n')
    rows = [{"text": f"t {n}", "y": label} for n in NUMBERS] + [{"text": "t", "y": [*"ab"] if label == ["a"] else 2}]
    given = {"task": rows, "domain": ["a b"]}
    file, read = (Given(**given, config=config) for config in (tmp_path / "x.toml", load_config(tmp_path / "x.toml")))
    one, other = (experiment("train", found, tmp_path / "run", Console(quiet=True)) for found in (file, read))
    assert one == other and one.task.kind == "auto"


def test_a_call_leaves_the_process_as_it_was(splits, words, tmp_path):
    """As it is in a notebook, where others compute as well."""
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            learned = pl.learn(task=splits, tokenizer=words, out=tmp_path, settings=SHORT, quiet=True)
        assert torch.get_num_threads() == 2 and torch.get_default_dtype() == torch.float64
        example = {"input_ids": words(splits["train"][0]["text"])["input_ids"]}
        masked = pl.PolicyCollator(learned.policy, words)([example])["labels"]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(masked, pl.PolicyCollator.from_pretrained(tmp_path / "policy", words)([example])["labels"])


def test_from_another_folder_a_run_and_a_comparison_are_where_they_were(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {"learn.stages": ["rounds"], "learn.rounds": 0, "policy.prior": {"tficf": 1.0}}
    run = pl.learn(config=tiny(), settings=settings, out="run", quiet=True)
    monkeypatch.chdir("/")
    assert run.policy.policy.names == ["tficf"] and Path(run.report().place).is_file()
    found = run.evaluate(["learned"], seeds=1, settings={"pretrain.steps": 3})
    assert Path(found.out) == tmp_path / "run" / "evaluate"
    assert "pretrain.steps  does nothing here: evaluate does not read it" in capsys.readouterr().out
    assert from_anywhere("s3://bucket/run") == "s3://bucket/run"


def order_of_sums():
    fills = torch.utils.deterministic.fill_uninitialized_memory
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warns, fills, os.environ.get("CUBLAS_WORKSPACE_CONFIG")


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_of_how_sums_are_taken_on_a_gpu_nothing_is_left(workspace, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    if workspace:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    before = order_of_sums()
    with surroundings(quiet=True):
        add_in_one_order()
        assert order_of_sums() == (True, True, False, workspace or ":4096:8")
    assert order_of_sums() == before


def test_within_autocast_a_comparison_comes_to_the_same(tiny, tmp_path):
    with torch.autocast("cpu", torch.bfloat16):
        pl.evaluate(arms=["random"], config=tiny(), out=tmp_path / "within", quiet=True)
        assert torch.is_autocast_enabled("cpu")
    pl.evaluate(arms=["random"], config=tiny(), out=tmp_path / "without", quiet=True)
    losses = [
        [json.loads(line)["mlm_loss"] for line in (tmp_path / name / "trials.jsonl").read_text().splitlines()]
        for name in ("within", "without")
    ]
    assert losses[0] == losses[1]


ARMS, SEEDS = "evaluate.arms", "evaluate.seeds"


@pytest.mark.parametrize(
    ("config", "settings", "given", "scored"),
    [
        ({}, {SEEDS: 1}, {}, {"random": 1}),
        ({ARMS: ["random", "oracle"], SEEDS: 1}, {}, {}, {"random": 1, "oracle": 1}),
        ({ARMS: ["random", "oracle"], SEEDS: 1}, {ARMS: ["idf"]}, {}, {"idf": 1}),
        ({ARMS: ["random", "oracle"], SEEDS: 1}, {"evaluate": {"seeds": 2}}, {"arms": ["none"]}, {"none": 2}),
        ({SEEDS: 0}, {}, {"arms": ["none"]}, {"none": 5}),  # of a run that compared nothing
    ],
)
def test_arms_and_seeds_are_those_of_the_call_or_the_settings_or_the_config(
    config, settings, given, scored, tiny, tmp_path
):
    base = tiny(*(f"{key}={json.dumps(value)}" for key, value in config.items()))
    found = pl.evaluate(config=base, settings=settings, out=tmp_path, quiet=True, **given)
    assert {arm: len(scores) for arm, scores in found.scores.items()} == scored


def test_arms_and_seeds_that_are_given_twice_are_refused(learned, tmp_path):
    for call in (learned[0].evaluate, partial(pl.evaluate, out=tmp_path)):
        for given, key in (({"arms": ["none"]}, ARMS), ({"seeds": 2}, SEEDS)):
            with pytest.raises(ValueError, match=f"^{key} is given twice, as an argument and in settings"):
                call(**given, settings={"evaluate": {"arms": ["random"], "seeds": 1}}, quiet=True)


def test_what_is_wrong_with_arms_and_means_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"arms 'random': give a list of names, such as \['random'\]"):
        pl.evaluate(arms="random", out=tmp_path)
    for policies, said in (
        (["a", "b"], "the policies are a list: give them by name"),
        ({"a": 3}, "policy 'a' is a int: give a folder"),
    ):
        with pytest.raises(ValueError, match=said):
            pl.average(policies)
    for times in (float("nan"), -1.0, 0, "2"):
        with pytest.raises(ValueError, match=r"how strongly the mean is followed is a number above 0"):
            pl.average({}, times=times)


def test_the_recipe_is_that_of_the_config_for_own_tasks():
    own = load_config(CONFIGS / "own_task.toml").model_dump(exclude_unset=True)
    assert all(own[section] == settings for section, settings in RECIPE.items() if section != "evaluate")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"settings": {"inner.stepz": 3}}, r"settings\['inner\.stepz'\]: unknown key.*did you mean 'inner\.steps'"),
        ({"model": tiny_bert(9)}, "needs its tokenizer as an object as well"),
        ({"model": tiny_bert(9), "tokenizer": "org/name"}, "needs its tokenizer as an object as well"),
        ({"model": 3}, "model is a int: give a name"),
        ({"config": "no.toml"}, r"config file no\.toml does not exist"),
        ({"config": "/"}, r"config file / is a folder"),
        ({"settings": ["inner.steps=4"]}, r"settings \['inner\.steps=4'\]: give them by dotted name"),
    ],
)
def test_what_is_wrong_is_said(given, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        pl.learn(out=tmp_path, quiet=True, **given)


def test_quiet_has_a_name_by_which_what_surrounds_a_call_sees_it():
    assert inspect.signature(Learned.evaluate).parameters["quiet"].kind is inspect.Parameter.KEYWORD_ONLY
