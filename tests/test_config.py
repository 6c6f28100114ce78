from pathlib import Path

import pytest

from policylearn.config import Config, known_keys, load_config, resolved_json


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path | None, *overrides: str) -> str:
    with pytest.raises(ValueError) as error:
        load_config(path, list(overrides))
    return str(error.value)


def test_the_defaults_are_a_whole_experiment():
    config = load_config(None)
    assert config == Config()
    assert config.task.path == config.domain.path == config.general.path == "planted"
    assert config.model.name is None


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path):
    config = load_config(write(tmp_path, 'name = "x"\n[inner]\nsteps = 9\n[policy]\nprior = { tficf = 2.0 }\n'))
    expected = Config().model_dump()
    expected["name"], expected["inner"]["steps"], expected["policy"]["prior"] = "x", 9, {"tficf": 2.0}
    assert config.model_dump() == expected


def test_overrides_win_over_the_file(tmp_path):
    path = write(tmp_path, "[inner]\nsteps = 9\nbatch_size = 4\n")
    config = load_config(path, ["inner.steps=64", "model.name=org/bert", 'evaluate.arms=["random"]', "model.bf16=true"])
    assert (config.inner.steps, config.inner.batch_size) == (64, 4)
    assert (config.model.name, config.evaluate.arms, config.model.bf16) == ("org/bert", ["random"], True)


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[inner]\nstepz = 3\n", "inner.stepz", "inner.steps"),
        ("[iner]\nsteps = 3\n", "iner", "inner"),
        ("[learn]\nlearning_rat = 3\n", "learn.learning_rat", "learn.learning_rate"),
        ('nam = "x"\n', "nam", "name"),
    ],
)
def test_an_unknown_key_is_named_with_its_file_and_the_nearest_valid_name(tmp_path, text, key, nearest):
    path = write(tmp_path, text)
    message = refused(path)
    assert f"'{key}'" in message
    assert str(path) in message
    assert f"did you mean '{nearest}'?" in message


@pytest.mark.parametrize(
    ("text", "key", "given"),
    [
        ('[inner]\nsteps = "many"\n', "inner.steps", "'many'"),
        ("[inner]\nsteps = 0\n", "inner.steps", "0"),
        ("[masking]\nrate = 1.5\n", "masking.rate", "1.5"),
        ('[cluster]\nbackend = "spark"\n', "cluster.backend", "'spark'"),
        ("inner = 3\n", "inner", "3"),
        ("[inner]\nbetas = [0.9]\n", "inner.betas", "0.9"),
    ],
)
def test_a_wrong_type_or_range_names_key_file_and_value(tmp_path, text, key, given):
    path = write(tmp_path, text)
    message = refused(path)
    assert f"{path}: {key}" in message
    assert given in message
    assert len(message.splitlines()) == 1


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    assert "masking" in refused(write(tmp_path, "[masking]\nrate = 0.6\np_max = 0.5\n"))
    assert "inner.every" in refused(None, "inner.window=9", "inner.every=3")
    assert "inner.window" in refused(None, "inner.engine=one_step", "inner.window=2")
    compared = "learn.estimator=score_function"
    assert 'set masking.design = "independent"' in refused(None, compared, "policy.prior={}")
    assert load_config(None, [compared, "policy.prior={}", "masking.design=independent"]).learn.samples >= 2
    assert "learn.samples" in refused(None, compared, "learn.samples=1")


def test_every_mistake_is_reported_at_once(tmp_path):
    message = refused(write(tmp_path, '[inner]\nsteps = 0\nstepz = 1\n[masking]\nrate = "x"\n'))
    assert len(message.splitlines()) == 3


def test_a_wrong_override_is_shown_as_it_was_given(tmp_path):
    path = write(tmp_path, "[inner]\nsteps = 9\n")
    assert refused(path, "inner.batch_size=none").startswith("override inner.batch_size=none: inner.batch_size")
    assert "section.key=value" in refused(path, "inner.steps")
    assert "is a value, not a section" in refused(path, "inner.steps.more=3")
    assert refused(path, "iner.steps=3") == "override iner.steps=3: unknown key 'iner'; did you mean 'inner'?"
    assert refused(path, "masking.rate=0.95").startswith("override masking.rate=0.95: masking: rate 0.95 must be below")


def test_settings_that_contradict_each_other_or_reach_too_far():
    assert "planted.class_share + planted.distractor_share" in refused(None, "planted.class_share=0.9")
    assert "planted.labelled_class_words must not exceed" in refused(None, "planted.labelled_class_words=60")
    for key in ("learn.seed", "planted.seed"):
        assert refused(None, f"{key}=-1").startswith(f"override {key}=-1: {key}: Input should be greater")
    assert "did you mean 'evaluate.custom'" in refused(None, "evaluate.custm={}")


def test_a_mistake_in_the_file_is_not_blamed_on_an_override(tmp_path):
    path = write(tmp_path, "[inner]\nsteps = 0\n[learn]\nrounds = -1\n")
    message = refused(path, "inner.step=3", "learn.rollouts=2")
    assert f"{path}: inner.steps" in message
    assert f"{path}: learn.rounds" in message
    assert "override inner.step=3: unknown key 'inner.step'" in message


def test_a_file_that_is_no_toml_or_not_there(tmp_path):
    path = write(tmp_path, "[inner\n")
    assert f"{path}: not valid TOML" in refused(path)
    assert refused(tmp_path / "none.toml") == f"config file {tmp_path / 'none.toml'} does not exist"


def test_resolved_json_holds_every_setting_and_reads_back():
    config = load_config(None, ["inner.betas=[0.8, 0.9]", "task.labels=['a', 'b']", "masking.rate=0.2"])
    text = resolved_json(config)
    assert Config.model_validate_json(text) == config
    assert all(f'"{key.rpartition(".")[2]}"' in text for key in known_keys())
