"""What a command does not read, whoever names it there is told."""

import pytest

from policylearn.api.look import score
from policylearn.config.loading import known_keys
from policylearn.config.unread import UNREAD, unread_by


@pytest.mark.parametrize("command", UNREAD)
def test_what_is_not_read_are_sections_and_settings_that_there_are(command):
    keys = known_keys()
    for unread in UNREAD[command]:
        assert any(f"{key}.".startswith(f"{unread}.") for key in keys), unread
    told = unread_by(command, keys)
    assert told and all(line.startswith(f"{line.split()[0]}  does nothing here: {command} ") for line in told)
    assert not unread_by(command, ["model.name", "domain.path", "task.path", "masking.rate", "name"])


def test_where_nothing_is_learned_no_setting_of_learning_is_read():
    keys = [key for key in known_keys() if key.startswith("learn.")]
    for command in ("evaluate", "score", "pretrain", "adapt"):
        told = {line.split()[0] for line in unread_by(command, keys)}
        assert {*keys} - told == {"learn.stages", "learn.start"}


def test_a_file_says_what_it_likes_and_a_command_line_is_told(policylearn, tiny_toml):
    status, out, _ = policylearn("score", tiny_toml, "--scorer", "tficf", "learn.rounds=9", "evaluate.seeds=", "name=x")
    assert status == 0
    assert [line for line in out.splitlines() if "nothing" in line] == [
        "learn.rounds  does nothing here: score does not read it"
    ]


def test_python_is_told_likewise(capsys):
    assert score("tficf", settings={"planted.documents": 40, "pretrain": {"steps": 3}}, top=1)
    assert "pretrain.steps  does nothing here" in capsys.readouterr().out
