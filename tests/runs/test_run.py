import json

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
    (tmp_path / "config.json.partial").write_text('{"name": "ti')
    Run.open(tmp_path, tiny(), quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_a_trial_cut_short_is_run_again(tiny, tmp_path, quiet):
    run = Run.open(tmp_path, tiny(), quiet)
    run.save_trials([{"arm": "random", "seed": 0}, {"arm": "random", "seed": 1}])
    whole = (tmp_path / "trials.jsonl").read_text()
    (tmp_path / "trials.jsonl").write_text(whole[:-3])
    assert Run.open(tmp_path, tiny(), quiet).trials() == [{"arm": "random", "seed": 0}]
