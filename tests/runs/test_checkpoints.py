"""Which checkpoint of a `Trainer` a training goes on from."""

import pytest

from policylearn.runs.checkpoints import STATE, last_checkpoint


def checkpoint(folder, name, state):
    (folder / name).mkdir(parents=True)
    (folder / name / STATE).write_text(state)
    return folder / name


def test_the_newest_by_its_steps(tmp_path):
    assert last_checkpoint(tmp_path) is None and last_checkpoint(tmp_path / "none") is None
    places = [checkpoint(tmp_path, f"checkpoint-{steps}", f'{{"global_step": {steps}}}') for steps in (9, 100, 20)]
    assert last_checkpoint(tmp_path) == (100, places[1])


@pytest.mark.parametrize("name", ["checkpoint-100-old", "checkpoint-", "checkpoint-best", "my-checkpoint-100"])
def test_a_folder_that_trainer_did_not_name_is_none(tmp_path, name):
    whole = checkpoint(tmp_path, "checkpoint-2", '{"global_step": 2}')
    checkpoint(tmp_path, name, '{"global_step": 100}')
    assert last_checkpoint(tmp_path) == (2, whole)


@pytest.mark.parametrize("state", ["", "{}", "null", "[]", "3", '{"global_step": null}', '{"global_step": "x"}'])
def test_a_checkpoint_whose_state_tells_no_steps_is_not_whole(tmp_path, state):
    whole = checkpoint(tmp_path, "checkpoint-2", '{"global_step": 2}')
    checkpoint(tmp_path, "checkpoint-4", state)
    assert last_checkpoint(tmp_path) == (2, whole)
