"""A run goes on with the data that it began with."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch

from policylearn.adapt.chosen import Adaptation
from policylearn.policy.scores import Scores
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import ADAPTATIONS, SCORERS
from policylearn.registry.registry import Origin
from policylearn.runs import contents
from policylearn.runs.contents import contents_as_read, contents_of
from policylearn.runs.reading import config_for_its_files, kept_config
from policylearn.runs.run import Run
from policylearn.runs.state import State
from policylearn.storage.folder import Storage


@pytest.fixture
def given(tiny, tmp_path):
    """The config of a corpus of one's own, and its file."""
    corpus = tmp_path / "texts.txt"
    corpus.write_text("class0_01 generic_003\n" * 9)
    return tiny(f"domain.path={corpus}"), corpus


def test_other_texts_under_the_same_name_are_refused(given, tmp_path, quiet):
    config, corpus = given
    run = Run.open(tmp_path / "run", config, quiet)
    kept = json.loads((tmp_path / "run" / "contents.json").read_text())
    assert kept == {"begun in": str(Path.cwd()), "domain.path": contents_of(str(corpus))}
    corpus.write_text("class0_02 generic_003\n" * 9)
    (tmp_path / "run" / "prior").mkdir()
    Run.open(tmp_path / "run", config, quiet)  # nothing that is worth keeping was made of the others
    assert not (tmp_path / "run" / "prior").exists()
    run.save_round(State(1, {}, {}, [{"round": 0}]))
    Run.open(tmp_path / "run", config, quiet)
    corpus.write_text("class0_03 generic_003\n" * 9)
    with pytest.raises(ValueError, match=r"run on other data: domain\.path .*texts\.txt has changed since it began"):
        Run.open(tmp_path / "run", config, quiet)
    Run.open(tmp_path / "run", config, quiet, fresh=True).save_trials([])
    Run.open(tmp_path / "run", config, quiet)


def test_scores_that_texts_bring_for_an_arm_alone_are_no_part_of_the_data_that_a_run_has_read(
    tiny, tmp_path, monkeypatch
):
    """Once they were not read: a run from then goes on."""
    (tmp_path / "texts.jsonl").write_text('{"text": "class0_01 generic_003", "scores": [0, 1]}\n' * 9)
    monkeypatch.setattr("policylearn.runs.contents._places_here", lambda source: [])

    def read(*settings):
        problem = problem_of(tiny(f"domain.path={tmp_path}/texts.jsonl", *settings))
        return problem.domain.columns.keys(), contents_as_read(problem)["domain.path"]

    (none, plain), (mine, custom), (named, prior) = (
        read(),
        read("evaluate.custom={mine = {prior = {column = 4.0}}}", 'evaluate.arms=["mine"]'),
        read("policy.prior={column = 4.0}"),
    )
    assert not none and mine == named == {"column"} and plain == custom != prior


def test_what_was_read_of_places_that_are_no_files_is_held_against_what_is_read_now(tiny, tmp_path, quiet, monkeypatch):
    """As of the Hub, where a name may have another model, and other texts, by tomorrow."""
    rows = {"domain": ["class0_01 generic_003"] * 9}
    monkeypatch.setattr("policylearn.problems.texts.open_corpus", lambda config, which: iter(rows[which]))
    config = tiny("domain.path=org/texts")

    def read():
        return contents_as_read(problem_of(config))

    run = Run.open(tmp_path, config, quiet)
    assert read().keys() == {"domain.path"}
    Run.open(tmp_path, config, quiet).check_read({})  # a run from before this was kept goes on
    run.check_read(read())
    assert json.loads((tmp_path / "contents.json").read_text()) == read()
    rows["domain"].append("class0_03 generic_003")
    (tmp_path / "prior").mkdir()
    run = Run.open(tmp_path, config, quiet)
    run.check_read(read())  # nothing that is worth keeping was made of the others
    assert json.loads((tmp_path / "contents.json").read_text()) == read() and not (tmp_path / "prior").exists()
    run.save_round(State(1, {}, {}, [{"round": 0}]))
    Run.open(tmp_path, config, quiet).check_read(read())
    rows["domain"].append("class0_02 generic_003")
    with pytest.raises(ValueError, match=r"run on other data: domain\.path org/texts has changed since it began"):
        Run.open(tmp_path, config, quiet).check_read(read())
    with pytest.raises(ValueError, match="since it began; choose another folder for --validity"):
        Run.open(tmp_path, config, quiet, start_over="another folder for --validity").check_read(read())
    fresh = Run.open(tmp_path, config, quiet, fresh=True)
    fresh.check_read(read())
    fresh.save_round(State(1, {}, {}, [{"round": 0}]))
    Run.open(tmp_path, config, quiet).check_read(read())


def test_files_are_read_once_when_a_run_is_opened(given, tmp_path, quiet, monkeypatch):
    config, corpus = given
    read, real = [], contents.contents_of
    monkeypatch.setattr(contents, "contents_of", lambda place, *more: read.append(place) or real(place, *more))
    Run.open(tmp_path / "run", config, quiet).check_read(contents_as_read(problem_of(config)))
    assert read.count(str(corpus)) == 1


def test_another_model_under_the_same_name_is_refused(tiny, tmp_path, quiet):
    for file in (
        "model/config.json",
        "model/model.safetensors",
        "start/policy/policy.safetensors",
        "start/report.html",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("before")
    config = tiny(f"model.name={tmp_path}/model", f"learn.start={tmp_path}/start")
    run = Run.open(tmp_path / "run", config, quiet)
    run.save_round(State(1, {}, {}, [{"round": 0}]))
    (tmp_path / "start" / "report.html").write_text("after")
    Run.open(tmp_path / "run", config, quiet)
    for file, key in (("model/model.safetensors", "model.name"), ("start/policy/policy.safetensors", "learn.start")):
        (tmp_path / file).write_text("after")
        with pytest.raises(ValueError, match=rf"run on other data: {key} .* has changed since it began"):
            Run.open(tmp_path / "run", config, quiet)
        (tmp_path / file).write_text("before")


def test_a_part_that_is_written_otherwise_is_refused(tiny, tmp_path, quiet):
    def open_with(factor):
        @SCORERS.register("mine", Origin("their_parts", "<module>"))
        def mine(sources):
            return Scores(torch.zeros(len(sources.tokenizer)) * factor)

        return Run.open(tmp_path, tiny("policy.prior={mine = 1.0}", 'evaluate.arms=["random"]'), quiet)

    open_with(1).save_round(State(1, {}, {}, [{"round": 0}]))
    open_with(1)
    with pytest.raises(ValueError, match="run of other code: the code of scorer 'mine' has changed since it began"):
        open_with(2)


def test_an_older_run_which_kept_less_of_its_contents_goes_on_and_keeps_the_rest(tiny, tmp_path, quiet, monkeypatch):
    """Of before arrays and patterns counted, and what is behind a link."""
    for name in ("texts", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text("class0_01 generic_003\n" * 9)
    (tmp_path / "texts" / "link").symlink_to(tmp_path / "elsewhere")

    def open_with(pattern):
        @SCORERS.register("mine", Origin("their_parts", "<module>"))
        def mine(sources):
            return Scores(torch.zeros(len(sources.tokenizer)) * bool(pattern))

        return Run.open(tmp_path / "run", tiny(f"domain.path={tmp_path}/texts", "policy.prior={mine = 1.0}"), quiet)

    with monkeypatch.context() as before:
        before.setattr("policylearn.runs.taking.contents", partial(contents.contents, way=0))
        open_with(re.compile("a")).save_round(State(1, {}, {}, [{"round": 0}]))
    kept = [json.loads((tmp_path / "run" / "contents.json").read_text())]
    open_with(re.compile("a"))
    kept.append(json.loads((tmp_path / "run" / "contents.json").read_text()))
    assert {key for key in kept[0] if kept[0][key] != kept[1][key]} == {"domain.path", "the code of scorer 'mine'"}
    with pytest.raises(ValueError, match="the code of scorer 'mine' has changed since it began"):
        open_with(re.compile("b"))
    (tmp_path / "elsewhere" / "elsewhere.txt").write_text("class0_02 generic_003\n" * 9)
    with pytest.raises(ValueError, match=r"domain\.path .*/texts has changed since it began"):
        open_with(re.compile("a"))


def test_so_does_one_whose_part_is_an_object_of_a_class_of_ours(tiny, tmp_path, quiet, monkeypatch):
    def open_with(result):
        source = f"ADAPTATIONS.register('mine')(Adaptation(lambda *_: {result}, len))"
        exec(source, {"__name__": "their_parts", "ADAPTATIONS": ADAPTATIONS, "Adaptation": Adaptation})
        return Run.open(tmp_path / "run", tiny("outer.adaptation=mine"), quiet)

    with monkeypatch.context() as before:
        before.setattr("policylearn.runs.taking.contents", partial(contents.contents, way=1))
        open_with(1).save_round(State(1, {}, {}, [{"round": 0}]))
    open_with(1)
    with pytest.raises(ValueError, match="the code of adaptation 'mine' has changed since it began"):
        open_with(2)


def test_from_another_folder_a_run_says_where_it_was_begun(tiny, tmp_path, quiet, monkeypatch):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "here" / "texts.txt").write_text("class0_01 generic_003\n" * 9)
    monkeypatch.chdir(tmp_path / "here")
    Run.open(tmp_path / "run", tiny("domain.path=texts.txt"), quiet).save_round(State(1, {}, {}, [{"round": 0}]))
    assert config_for_its_files(Storage.at(tmp_path / "run")).domain.path == "texts.txt"
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(
        ValueError, match=r"begun in .*/here, where its domain\.path texts\.txt is: call this from there"
    ):
        config_for_its_files(Storage.at(tmp_path / "run"))
    assert kept_config(Storage.at(tmp_path / "run")).domain.path == "texts.txt"  # its policy is there all the same
    with pytest.raises(ValueError, match=r"now '\.\./here/texts\.txt'; it was begun in .*/here\): choose another"):
        Run.open(tmp_path / "run", tiny("domain.path=../here/texts.txt"), quiet)


def test_a_run_is_shown_where_its_data_are_not(given, tmp_path, quiet):
    config, corpus = given
    Run.open(tmp_path / "run", config, quiet).finish({})
    before = (tmp_path / "run" / "contents.json").read_text()
    corpus.unlink()
    assert Run.open(tmp_path / "run", config, quiet).finished
    assert (tmp_path / "run" / "contents.json").read_text() == before


def test_contents_are_names_and_bytes_and_no_times(tmp_path, monkeypatch):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text(name * 40_000)
    found = contents_of(str(tmp_path))
    assert found == contents_of(f"{tmp_path}/") != contents_of(f"{tmp_path}/*.txt")
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "dev.jsonl").write_text("dev" * 40_000)
    assert contents_of(str(tmp_path)) == found and contents_of("org/dataset") is None
    monkeypatch.setattr(contents, "WHOLE", 0)
    ends = contents_of(str(tmp_path))
    (tmp_path / "dev.jsonl").write_text("dev" * 39_999 + "vad")
    assert contents_of(str(tmp_path)) not in (ends, found)


def test_a_run_in_the_folder_of_its_data_and_notes_beside_them_are_no_part_of_them(tiny, tmp_path, quiet):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(split)
    config = tiny(f"task.path={tmp_path}")
    for out in ("a", "runs/b"):
        Run.open(tmp_path / out, config, quiet).finish({})
    (tmp_path / "notes.txt").write_text("mine")
    assert Run.open(tmp_path / "a", config, quiet).finished
    (tmp_path / "dev.jsonl").write_text("x")
    with pytest.raises(ValueError, match="holds a run on other data: task"):
        Run.open(tmp_path / "a", config, quiet)
    (tmp_path / "dev.jsonl").unlink()
    (tmp_path / "dev.jsonl").symlink_to(tmp_path / "nothing.jsonl")  # cannot be read: for whoever reads it to say
    assert Run.open(tmp_path / "a", config, quiet).finished


def test_what_is_behind_a_link_belongs_to_the_folder(tmp_path):
    for file in ("train/cat/0.png", "elsewhere/0.png"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(file)
    (tmp_path / "train" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "train")
    before = contents_of(str(tmp_path / "train"))
    (tmp_path / "elsewhere" / "0.png").write_text("another")
    assert contents_of(str(tmp_path / "train")) not in (before, None)
