import copy
from pathlib import Path

import pytest

from policylearn.config import Config, config_of, known_keys, load_config, load_study, resolved_json


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
        ("[inner]\nbetas = [0.9, 1.0]\n", "inner.betas.1", "1.0"),
        ("[inner]\nbetas = [-0.1, 0.9]\n", "inner.betas.0", "-0.1"),
        ('[model]\ntokenizer = ""\n', "model.tokenizer", "is empty"),
        ('[domain]\npath = "  "\n', "domain.path", "'  '"),
        ("[pretrain]\nloaders = 100000\n", "pretrain.loaders", "100000"),
        ("[cluster]\nthreads = 1000000\n", "cluster.threads", "1000000"),
        ("[outer]\nlearning_rate = 1e39\n", "outer.learning_rate", "1e+39"),
        ("[policy]\nprior = {tficf = -1e300}\n", "policy.prior", "-1e+300"),
        (f"[learn]\nsamples = {10**30}\n", "learn.samples", f"{10**30}"),
        (f"[masking]\nrandom_token_ids = [3, {2**63}]\n", "masking.random_token_ids", f"{2**63}"),
        (
            f'[masking]\nrate = {{kind = "cyclic", rates = [0.1, 0.2], cycles = {2**63}}}\n',
            "masking.rate.cycles",
            f"{2**63}",
        ),
        ('[pretrain]\nrate = {kind="beta", low=0.1, high=0.2, a=9999, b=1}\n', "pretrain.rate.a", "9999"),
    ],
)
def test_a_wrong_type_or_range_names_key_file_and_value(tmp_path, text, key, given):
    path = write(tmp_path, text)
    message = refused(path)
    assert f"{path}: {key}" in message
    assert given in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "override",
    [
        "inner.steps=true",
        "inner.betas=[true, 0.9]",
        "masking.rate=false",
        "policy.prior={difference=true}",
    ],
)
def test_true_is_no_number(override):
    assert f"{override.partition('=')[0]}: true and false are no numbers" in refused(None, override)
    assert load_config(None, ["model.bf16=1"]).model.bf16  # the other way round nothing is lost


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    assert "masking" in refused(write(tmp_path, "[masking]\nrate = 0.6\np_max = 0.5\n"))
    assert "inner.every" in refused(None, "inner.window=9", "inner.every=3")
    assert "inner.window" in refused(None, "inner.engine=one_step", "inner.window=2")
    assert "credit.until" in refused(None, "inner.start=0.5", "credit.until=0.4")
    compared = "learn.estimator=score_function"
    assert 'set masking.design = "independent"' in refused(None, compared, "policy.prior={}")
    assert load_config(None, [compared, "policy.prior={}", "masking.design=independent"]).learn.samples >= 2
    assert "learn.samples" in refused(None, compared, "learn.samples=1")


def test_a_table_changes_of_a_section_what_it_names_and_is_the_whole_value_of_a_setting(tmp_path):
    path = write(tmp_path, "[inner]\nsteps = 9\nbatch_size = 4\n[evaluate.finetune]\nepochs = 3\n")
    rate = """{kind="linear",rates=[0.3,0.2]}"""
    tables = ["inner={steps=5}", "evaluate={finetune={batch_size=2}}", f"masking={{rate={rate}}}"]
    by_key = ["inner.steps=5", "evaluate.finetune.batch_size=2", f"masking.rate={rate}"]
    assert load_config(path, tables) == load_config(path, by_key)
    assert load_config(path, ["policy.prior={tficf=2.0}"]).policy.prior == {"tficf": 2.0}


@pytest.mark.parametrize("overrides", [["task.text=[text,label]"], ["task.text=y", "task.label=y"]])
def test_what_is_to_be_told_is_no_part_of_the_text(overrides):
    assert "task.text and task.label both name the column" in refused(None, "task.path=mine", *overrides)
    assert "task.text and task.answers both name the column 'x'" in refused(None, "task.text=x", "task.answers=x")


def test_a_run_in_place_of_a_config_is_asked_for_its_own(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert refused(tmp_path) == f"config file {tmp_path} is a folder; did you mean {tmp_path}/config.json?"


@pytest.mark.parametrize(("text", "what"), [('[{"text": "a", "label": 1}]', "a list"), ("3", "one value")])
def test_a_file_of_data_is_no_config(tmp_path, text, what):
    (path := tmp_path / "data.json").write_text(text)
    assert refused(path) == f"{path} holds {what}, not settings: is it the data? task.path={path} reads it as such"


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


def test_overrides_that_contradict_others_are_blamed_and_the_file_only_for_its_own(tmp_path):
    path = write(tmp_path, '[inner]\nobjective = "masked_diffusion"\n')
    both = ("masking.design=explore", "inner.objective=masked_diffusion", "name=inner", "inner.steps=9")
    said = 'inner.objective = "masked_diffusion" does not go with masking.design = "explore": set "systematic"'
    assert refused(path, both[0], both[3]) == f"override {both[0]}: {said}"
    assert refused(None, *both) == f"override {both[0]}, override {both[1]}: {said}"
    text = '[inner]\nobjective = "masked_diffusion"\n[masking]\ndesign = "explore"\n'
    assert refused(write(tmp_path, text), "name=inner", "inner.steps=9") == f"{path}: {said}"


def test_the_objective_of_pictures_is_refused_for_texts():
    said = refused(None, "inner.objective=masked_patches")
    assert said.startswith("override inner.objective=masked_patches: ")
    assert "is of pictures, and this config of texts: set patches.words" in said


def test_a_file_that_is_no_toml_or_not_there(tmp_path):
    path = write(tmp_path, "[inner\n")
    assert f"{path}: not valid TOML" in refused(path)
    assert refused(tmp_path / "none.toml") == f"config file {tmp_path / 'none.toml'} does not exist"


@pytest.mark.parametrize(
    ("name", "text"), [("mine.toml", "[inner]\r\nsteps = 7\r\n"), ("config.json", '{"inner": {"steps": 7}}\r\n')]
)
def test_a_file_of_an_editor_on_windows_is_read_as_any_other(tmp_path, name, text):
    (path := tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    assert load_config(path).inner.steps == 7


def test_a_tree_is_left_as_it_is(tmp_path):
    tree = {"inner": {"steps": 7, "clip": 1.0}, "imports": []}
    before = copy.deepcopy(tree)
    changes = [("inner.steps", 8, ""), ("inner.clip", None, ""), ("outer.steps", 3, "")]
    assert config_of(tree, changes, "", ["json"]).imports == ["json"] and tree == before


def test_resolved_json_holds_every_setting_and_reads_back():
    config = load_config(None, ["inner.betas=[0.8, 0.9]", "task.labels=['a', 'b']", "masking.rate=0.2"])
    text = resolved_json(config)
    assert Config.model_validate_json(text) == config
    assert all(f'"{key.rpartition(".")[2]}"' in text for key in known_keys())


def test_words_in_brackets_are_a_list_as_a_shell_leaves_them():
    assert load_config(None, ["evaluate.arms=[random,learned]"]).evaluate.arms == ["random", "learned"]
    assert load_config(None, ["evaluate.arms=[random, tficf:rank,]"]).evaluate.arms == ["random", "tficf:rank"]
    assert load_config(None, ["evaluate.downstream=[probe@200]"]).evaluate.downstream == ["probe@200"]
    assert load_config(None, ["domain.path=texts/[ab]*.txt"]).domain.path == "texts/[ab]*.txt"  # a pattern stays one


def test_nothing_after_the_sign_unsets_what_the_file_says(tmp_path):
    path = write(tmp_path, '[model]\ntokenizer = "org/words"\nmax_length = 9\n')
    config = load_config(path, ["model.tokenizer=", "model.max_length="])
    assert (config.model.tokenizer, config.model.max_length) == (None, Config().model.max_length)


def test_a_name_is_proposed_only_where_one_is_near():
    assert (
        refused(None, "foo=1")
        == f"override foo=1: unknown key 'foo'; known here: {', '.join(sorted(Config.model_fields))}"
    )
    assert "did you mean 'outer.folds'?" in refused(None, "outer.fold=3")
    assert "did you mean 'masking.rate'?" in refused(None, "rate=0.3")
    said = refused(None, "inner.foo=1")
    assert "did you mean" not in said
    assert "known here: batch_size, betas" in said
    assert "see `policylearn settings`" in refused(None, "evaluate.custom.mine.nonsense=1")


def test_paths_in_a_file_are_those_from_here_or_else_those_beside_it(tmp_path, monkeypatch):
    here, beside = tmp_path / "here", tmp_path / "configs"
    (here / "data").mkdir(parents=True)
    (beside / "data").mkdir(parents=True)
    for folder, names in ((here, ["both"]), (beside, ["both", "one", "a_1"])):
        for name in names:
            (folder / "data" / f"{name}.txt").write_text("x")
    path = write(
        beside,
        '[model]\nname = "org/bert"\n[domain]\npath = "data/both.txt"\n[general]\npath = "data/a_*.txt"\n'
        '[task]\npath = "planted"\n[learn]\nstart = "data/one.txt"\n[supervised]\npath = "s3://data/one"\n',
    )
    (beside / "planted").mkdir()
    monkeypatch.chdir(here)
    config = load_config(path, ["scores.difference.embedding_model=data/one.txt"])
    assert (config.model.name, config.task.path) == ("org/bert", "planted")
    assert config.domain.path == "data/both.txt"
    assert config.general.path == f"{beside}/data/a_*.txt"
    assert config.learn.start == f"{beside}/data/one.txt"
    assert config.supervised.path == "s3://data/one"
    assert config.scores.difference.embedding_model == "data/one.txt"  # an override, which is meant from here
    monkeypatch.chdir(beside)
    assert load_config("settings.toml").learn.start == "data/one.txt"


def test_so_are_those_of_a_study(tmp_path, monkeypatch):
    write(tmp_path, '[learn]\nstart = "policy"\n')
    (tmp_path / "policy").mkdir()
    text = 'name = "s"\narms = ["random"]\n[tasks.a]\nconfig = "settings.toml"\npolicies = { mine = "policy" }\n'
    (tmp_path / "study.toml").write_text(text)
    monkeypatch.chdir("/")
    study = load_study(tmp_path / "study.toml", [])
    assert study.tasks["a"].policies == {"mine": f"{tmp_path}/policy"}
    assert study.config_of("a").learn.start == f"{tmp_path}/policy"


def test_defaults_of_the_planted_benchmark_do_not_speak_of_data_of_ones_own():
    own = load_config(None, ["task.path=my/reviews.csv.gz", "domain.path=my/texts.txt", "evaluate.seeds=2"])
    assert own.name == "reviews" and own.evaluate.arms == ["random", "difference", "learned"]
    assert own.evaluate.seeds == 2
    chosen = load_config(None, ["task.path=org/data", "domain.path=a.txt", "name=mine", "evaluate.arms=[oracle]"])
    assert chosen.name == "mine" and chosen.evaluate.arms == ["oracle"]  # told later that it cannot be had
    assert load_config(None, []).name == "planted" and "oracle" in Config().evaluate.arms


def test_a_stage_that_has_nothing_to_learn_is_refused_where_it_was_asked_for():
    stages = ["learn.stages=[expected,rounds]", "policy.prior={}"]
    with pytest.raises(ValueError, match=r'with policy\.network "none" nothing is left to "rounds"'):
        load_config(None, [*stages, "policy.network=none"])
    assert load_config(None, [*stages, "policy.network=table"]).learn.stages == ["expected", "rounds"]


@pytest.mark.parametrize(
    "line",
    [
        "policy.prior={tficf=nan}: policy.prior.tficf: Input should be a finite number",
        "inner.learning_rate=inf: inner.learning_rate: Input should be a finite number",
        "inner.schedule=foo: inner.schedule: Input should be",
        "masking.rate={kind='linear', rates=[0.3, 7]}: masking.rate: rate 7.0 must lie",
    ],
)
def test_the_setting_that_is_wrong_is_the_one_that_is_named(line):
    override = line.partition(": ")[0]
    assert f"override {line}" in refused(None, "inner.steps=2", "pretrain.steps=2", override)


def test_a_scorer_of_texts_beside_pictures_is_told_how_one_of_pictures_is_brought():
    pictures = {"patches": {"words": 8}, **{part: {"path": part} for part in ("domain", "task", "general")}}
    with pytest.raises(
        ValueError, match=r"policy\.prior: .*'idf'.* entry point of the group policylearn\.picture_scor"
    ):
        Config.model_validate(pictures | {"policy": {"prior": {"idf": 1.0}}})
    with pytest.raises(ValueError, match="unknown scorer 'block'") as found:
        Config.model_validate({"policy": {"prior": {"block": 1.0}}})
    assert "picture_scorers" not in str(found.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("patches.std=0", "patches.std: Input should be greater than 0"),
        ("patches.mean=[0.1,x]", "patches.mean.1: Input should be a valid number"),
    ],
)
def test_a_setting_for_one_or_for_each_is_explained_once(given, said):
    assert refused(None, given).startswith(f"override {given}: {said}") and "\n" not in refused(None, given)


def test_a_default_that_goes_by_the_data_is_not_taken_for_a_wish():
    config = load_config(None, ["domain.path=texts.txt"])
    assert config.evaluate.arms == ["random", "difference", "learned"]
    assert "arms" not in config.evaluate.model_fields_set
    assert "arms" in load_config(None, ["domain.path=texts.txt", "evaluate.arms=[random]"]).evaluate.model_fields_set


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("outer.folds=500", "are 384 examples together: set folds to 384 at most"),
        ("credit.points=1000000000000", "credit.points"),
        ("learn.rollouts=1000000000000", "learn.rollouts"),
        ("outcomes.pairs=1000000000000", "outcomes.pairs"),
        ("planted_facts.filler=1000000000000", "planted_facts.filler"),
    ],
)
def test_numbers_nobody_can_mean_are_refused_by_their_names(override, said):
    assert said in refused(None, override)
