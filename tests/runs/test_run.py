import json
import os

import pytest
import torch

from policylearn.runs.run import Run
from policylearn.runs.state import State


def state(rounds: int) -> State:
    return State(rounds, {"phi.x": torch.ones(2)}, {}, [{"round": number} for number in range(rounds)])


@pytest.mark.parametrize("left", ["", '{"round": 0}\n', "".join(f'{{"round": {n}}}\n' for n in range(3)), None])
def test_metrics_follow_the_checkpoint_a_run_continues_from(tiny, tmp_path, quiet, left):
    """Killed between the two, or thrown back to an older checkpoint; there may be no further round to mend it."""
    Run.open(tmp_path / "run", tiny(), quiet).save_round(state(2))
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.unlink() if left is None else metrics.write_text(left)
    assert Run.open(tmp_path / "run", tiny(), quiet).latest_state().round == 2
    assert [json.loads(line)["round"] for line in metrics.read_text().splitlines()] == [0, 1]


def test_a_run_killed_while_it_wrote_its_first_file_is_begun_again(tiny, tmp_path, quiet):
    left = tmp_path / "config.json.partial"
    left.write_text('{"name": "ti')
    os.utime(left, (0, 0))
    Run.open(tmp_path, tiny(), quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_of_two_processes_in_one_folder_the_first_goes(tiny, tmp_path, quiet):
    first = Run.open(tmp_path, tiny(), quiet)
    Run.open(tmp_path, tiny("inner.steps=3"), quiet).save_trials([{"arm": "random", "seed": 7}])
    for save in (
        lambda: first.save_trials([]),
        lambda: first.save_round(state(1)),
        lambda: first.finish({}),
    ):
        with pytest.raises(ValueError, match="another process has begun a run with other settings there"):
            save()
    assert json.loads((tmp_path / "trials.jsonl").read_text())["seed"] == 7


def test_of_two_comparisons_of_other_policies_in_one_folder_the_first_goes(tiny, tmp_path, quiet):
    first, other = (Run.open(tmp_path, tiny(), quiet, compares=True) for _ in range(2))
    first.note_policies({"mine": {"source": "A", "sha256": "a"}})
    first.save_trials([])
    other.note_policies({"mine": {"source": "B", "sha256": "b"}})
    for save in (lambda: first.save_trials([{"seed": 7}]), lambda: first.finish({})):
        with pytest.raises(ValueError, match="another process has begun a run with other policies there"):
            save()
    other.save_trials([{"seed": 8}])
    assert json.loads((tmp_path / "trials.jsonl").read_text())["seed"] == 8


def test_a_folder_below_a_file_is_none(tiny, tmp_path, quiet):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"/run cannot be written: {tmp_path}/file is a file"):
        Run.open(tmp_path / "file" / "run", tiny(), quiet)


def test_a_link_that_leads_nowhere_is_no_folder(tiny, tmp_path, quiet):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=rf"/run is a link to {tmp_path}/gone, which is not there"):
        Run.open(tmp_path / "run", tiny(), quiet)


def test_a_trial_cut_short_is_run_again(tiny, tmp_path, quiet):
    run = Run.open(tmp_path, tiny(), quiet)
    run.save_trials([{"arm": "random", "seed": 0}, {"arm": "random", "seed": 1}])
    whole = (tmp_path / "trials.jsonl").read_text()
    (tmp_path / "trials.jsonl").write_text(whole[:-3])
    assert Run.open(tmp_path, tiny(), quiet).trials() == [{"arm": "random", "seed": 0}]


def test_a_comparison_and_a_run_that_learns_have_a_folder_each(tiny, tmp_path, quiet):
    Run.open(tmp_path / "compared", tiny(), quiet, compares=True).note_policies({})
    with pytest.raises(ValueError, match="holds a comparison, which learns nothing: choose another --out, or --fresh"):
        Run.open(tmp_path / "compared", tiny(), quiet)
    Run.open(tmp_path / "compared", tiny("inner.steps=3"), quiet, compares=True)
    (tmp_path / "learned" / "prior").mkdir(parents=True)
    (tmp_path / "learned" / "config.json").write_bytes((tmp_path / "compared" / "config.json").read_bytes())
    for fresh in (False, True):
        with pytest.raises(ValueError, match="is the folder of a run that learns: choose another --out"):
            Run.open(tmp_path / "learned", tiny(), quiet, fresh, compares=True)
    Run.open(tmp_path / "compared", tiny(), quiet, fresh=True).save_trials([])
    assert not (tmp_path / "compared" / "policies.json").exists()


@pytest.mark.parametrize("stage", ["expected", "strength"])
def test_what_a_stage_keeps_is_of_its_settings_and_goes_with_them(tiny, tmp_path, quiet, stage):
    run = Run.open(tmp_path, tiny(), quiet)
    kept = run.latest_state(stage)
    kept.round, kept.history = 1, [{"round": 0}]
    run.save_round(kept)
    with pytest.raises(ValueError, match="holds a run with other settings"):
        Run.open(tmp_path, tiny("inner.steps=3"), quiet)
    Run.open(tmp_path, tiny("inner.steps=3"), quiet, fresh=True).begin()
    assert not (tmp_path / stage).exists()


def test_what_is_to_be_forgotten_stays_until_learning_begins_and_counts_for_nothing(tiny, tmp_path, quiet):
    run = Run.open(tmp_path, tiny(), quiet)
    run.save_trials([{"arm": "random", "seed": 0}])
    run.finish({"arms": {}})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    run = Run.open(tmp_path, tiny("inner.steps=3"), quiet, fresh=True)
    assert (run.finished, run.trials(), run.kept_policy("prior")) == (False, [], None)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with run:
        run.save_text("notes", "")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run.latest_state().round == 0  # what a learner asks for, which may refuse
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    run.begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes"]
    assert json.loads((tmp_path / "config.json").read_text())["inner"]["steps"] == 3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "trials.jsonl",
            b'{"arm": "ra\n{"arm": "random"}\n',
            r"trials\.jsonl, line 1 is damaged: .*take that line out",
        ),
        ("trials.jsonl", b'{"arm": "r\xffndom"}\n', r"trials\.jsonl, line 1 is damaged: .*take that line out"),
        ("contents.json", b'{"task', r"contents\.json is damaged: .*taken away"),
        ("config.json", b'{"name": "ti', r"whose config\.json is damaged: choose another --out, or --fresh"),
    ],
)
def test_a_damaged_file_is_named_and_fresh_starts_over(tiny, tmp_path, quiet, name, text, said):
    run = Run.open(tmp_path, tiny(f"domain.path={__file__}"), quiet)
    run.save_trials([{"arm": "random", "seed": 0}])
    (tmp_path / name).write_bytes(text)
    with pytest.raises(ValueError, match=said):
        Run.open(tmp_path, tiny(f"domain.path={__file__}"), quiet)
    assert Run.open(tmp_path, tiny(f"domain.path={__file__}"), quiet, fresh=True).trials() == []


@pytest.mark.parametrize("held", [b"", b"\xff\n", b'{"round": 1}\r\n'])
def test_metrics_that_are_damaged_are_written_again(tiny, tmp_path, quiet, held):
    run = Run.open(tmp_path, tiny(), quiet)
    state = run.latest_state()
    state.round, state.history = 1, [{"round": 0}]
    run.save_round(state)
    (tmp_path / "metrics.jsonl").write_bytes(held)
    Run.open(tmp_path, tiny(), quiet).latest_state()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"round": 0}\n'


def test_a_damaged_result_or_prior_is_named(tiny, tmp_path, quiet):
    run = Run.open(tmp_path, tiny(), quiet)
    run.finish({"arms": {}})
    (tmp_path / "result.json").write_text('{"arms')
    with pytest.raises(ValueError, match=r"result\.json is damaged: .*take it away, and it is made again"):
        Run.open(tmp_path, tiny(), quiet).result()
    (tmp_path / "prior").mkdir()
    (tmp_path / "prior" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match=r"began with is damaged: take .*prior away, and it is made again, or start"):
        run.kept_policy("prior")
