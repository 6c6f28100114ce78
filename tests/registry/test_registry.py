"""What others bring: a real distribution, with members of every kind, as pip leaves one behind."""

import json
import os
import subprocess
import sys

import pytest
import torch
from pydantic import BaseModel

import policylearn as pl
from policylearn.adapt.chosen import Adaptation
from policylearn.arms.arms import LEARNED, LIVE, NONE, RANDOM, SELECT, SETTINGS, initial_policy
from policylearn.artefact import PolicyArtefact, load_policy, save_policy
from policylearn.cluster.pool import LocalPool, open_pool
from policylearn.commands.train import train
from policylearn.config import Config, PlantedConfig, ScoresConfig, resolved_json
from policylearn.config.reference import find_sections
from policylearn.data.planted import planted_task, planted_tokenizer
from policylearn.evaluation.identity import evidence_key
from policylearn.evaluation.trial import run_trial
from policylearn.inner.masked_lm import MaskedLM
from policylearn.learning.estimators import by_credit
from policylearn.learning.rollout import rollout
from policylearn.policy.scores import Scores
from policylearn.problems.of_config import problem_of
from policylearn.registry.known import (
    ADAPTATIONS,
    ARMS,
    BACKENDS,
    ENGINES,
    ESTIMATORS,
    KINDS,
    NETWORKS,
    OBJECTIVES,
    SCORERS,
    SHARED,
    TRACKERS,
    brought,
)
from policylearn.runs.state import State
from policylearn.runs.trackers import open_trackers

MODULE = """
import torch
from pydantic import BaseModel

from policylearn.adapt.probe import ADAPTATION as like_a_probe
from policylearn.cluster.pool import LocalPool
from policylearn.data.overview import describe_numbers
from policylearn.data.task import load_numbers
from policylearn.inner.masked_lm import MaskedLM
from policylearn.learning.estimators import by_credit
from policylearn.metagrad.replay import replay
from policylearn.policy.networks import TypeTable
from policylearn.policy.scores import Scores
from policylearn.tasks.classification import Classification
from policylearn.tasks.labelled import labelled_kind


class Settings(BaseModel, extra="forbid"):
    power: float = 1.0


def length(sources):
    tokens = sources.tokenizer.convert_ids_to_tokens(range(len(sources.tokenizer)))
    return Scores(torch.tensor([float(len(token)) for token in tokens]) ** sources.config.of("length").power)


length.settings = Settings


number = 5


class Halved(TypeTable):
    def forward(self, input_ids, real):
        return super().forward(input_ids, real) / 2


class Pool(LocalPool):
    pass


def doubled(problem):  # twice the loss of masked language modelling
    return Doubled()


class Doubled(MaskedLM):
    def __call__(self, model, batch, x):
        return 2 * super().__call__(model, batch, x)


signs = labelled_kind(
    "signs",
    ("macro_f1", "accuracy"),
    load_numbers,
    describe_numbers,
    lambda task, labels: (torch.tensor(labels) > 0).long(),
    lambda task, y: Classification(2),
)


class Tracker:
    known, seen = 0, []

    def __init__(self, config, folder, identity):
        pass

    def log(self, number, values):
        self.seen.append(number)

    def close(self):
        pass
"""
ENTRY_POINTS = """
[policylearn.scorers]
length = their_parts:length
random = their_parts:length
length:rank = their_parts:length
broken = their_parts.nowhere:length
idf = their_parts:length
twice = their_parts:length
[policylearn.networks]
halved = their_parts:Halved
lost = their_parts.nowhere:Halved
[policylearn.engines]
their_replay = their_parts:replay
[policylearn.estimators]
their_credit = their_parts:by_credit
[policylearn.backends]
their_pool = their_parts:Pool
[policylearn.kinds]
signs = their_parts:signs
same_signs = their_parts:signs
[policylearn.objectives]
doubled = their_parts:doubled
[policylearn.adaptations]
number = their_parts:number
like_a_probe = their_parts:like_a_probe
[policylearn.trackers]
their_tracker = their_parts:Tracker
"""
REGISTRIES = [ADAPTATIONS, BACKENDS, ENGINES, ESTIMATORS, KINDS, NETWORKS, OBJECTIVES, SCORERS, TRACKERS]


def write_distribution(folder, name, entry_points):
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages, with what others bring."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "their_parts.py").write_text(MODULE)
    write_distribution(folder, "their_parts", ENTRY_POINTS)
    write_distribution(folder, "other", "[policylearn.scorers]\ntwice = other:length\n")
    return folder


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("their_parts", None)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_all_of_ours_are_there_and_come_before_those_of_others(registry, installed):
    ours = list(registry.members)
    assert registry.names()[: len(ours)] == ours and len(registry.names()) > len(ours)
    assert "their_parts" not in sys.modules  # names cost no import
    assert all(registry.get(name) is not None for name in ours)


def test_what_is_installed_later_is_found_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    assert "later" not in SCORERS
    write_distribution(tmp_path, "later", "[policylearn.scorers]\nlater = later:length\n")
    assert "later" in SCORERS


def test_a_scorer_of_another_distribution_is_used_with_its_own_settings(site, tiny_toml, tmp_path):
    command = [
        "score",
        str(tiny_toml),
        "scores.length.power=2",
        "--scorer",
        "length",
        "--out",
        str(tmp_path / "policy"),
    ]
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "policylearn", *command], env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    policy = load_policy(tmp_path / "policy").policy  # here the scorer is not known, and not needed
    assert policy.names == ["length"] and policy.scores.types[0, 0] == len("[PAD]") ** 2


def test_settings_of_a_scorer_are_checked_by_its_own_model(installed, tiny):
    config = tiny("policy.prior={length=1.0}", "scores.length.power=3")
    assert Config.model_validate_json(resolved_json(config)) == config
    assert config.scores.of("length").power == 3.0 and tiny().scores.of("length").power == 1.0
    for wrong, message in (("length.pover=3", "unknown key 'scores.length.pover'"), ("length.power=x", "valid number")):
        with pytest.raises(ValueError, match=rf"override scores\.{wrong}: .*{message}"):
            tiny(f"scores.{wrong}")


@pytest.mark.parametrize("extra", [None, "ignore", "forbid", "allow"])
def test_a_typo_in_settings_is_refused_unless_their_model_takes_any_key(tiny, extra):
    class Settings(BaseModel):
        model_config = {} if extra is None else {"extra": extra}
        power: float = 1.0

    def theirs(sources):
        return Scores(torch.zeros(1))

    theirs.settings = Settings
    SCORERS.register("theirs")(theirs)
    config = tiny("scores.theirs.power=3")
    assert type(config.scores.of("theirs")) is Settings and config.scores.of("theirs").power == 3
    assert Config.model_validate_json(resolved_json(config)) == config
    assert Config.model_validate(dict(config)) == config
    if extra == "allow":
        assert tiny("scores.theirs.powr=3").scores.of("theirs").powr == 3
    else:
        with pytest.raises(ValueError, match=r"unknown key 'scores\.theirs\.powr'"):
            tiny("scores.theirs.powr=3")


def test_a_section_of_no_scorer_or_of_one_without_settings_is_refused(tiny):
    for section in ("nobody", "idf"):
        with pytest.raises(
            ValueError, match=rf"unknown key 'scores\.{section}'; known here: amlm, column, .*difference"
        ):
            tiny(f"scores.{section}.power=3")


def test_a_member_that_cannot_be_imported_says_whose_it_is_once_it_is_asked_for(installed, tiny):
    assert {"broken", "length"} <= set(SCORERS.names()) and SCORERS.get("length") is not None
    config = tiny("policy.prior={broken=1.0}")
    expected = r"^scorer 'broken' of their_parts 1\.2 cannot be imported: ModuleNotFoundError: .*their_parts\.nowhere"
    with pytest.raises(ValueError, match=expected):
        initial_policy(problem_of(config))


def test_nobody_replaces_ours_and_of_two_others_none_is_taken(installed):
    assert SCORERS.get("idf").__module__ == "policylearn.scores.frequency"
    with pytest.raises(ValueError, match=r"scorer 'twice' comes with several distributions: .*other 1\.2"):
        SCORERS.get("twice")


def test_a_name_that_means_something_else_is_refused_with_those_that_do(installed):
    assert set(ARMS) == {NONE, RANDOM, LEARNED, SELECT, LIVE, *SETTINGS}
    shared = ScoresConfig.model_fields.keys() - SCORERS.members.keys()
    assert set(SHARED) == shared
    assert not {"random", "length:rank"} & set(SCORERS.names()) and "random" not in SCORERS
    assert brought({"scorers": {"random", "length", "idf"}}).keys() == {"scorer 'length'"}
    said = r"^scorer 'random' of their_parts 1\.2 is never used: the names none, random, .* mean something else"
    with pytest.raises(ValueError, match=said):
        SCORERS.check("random")
    for name in (*ARMS, *SHARED):
        with pytest.raises(ValueError, match=rf"^scorer '{name}': the names none, .* something else; choose another"):
            pl.scorer(name)
    for name in ("", "mine:rank", "mine@200"):
        with pytest.raises(ValueError, match=f"'{name}': a name is text, with none of : @, which end it; choose an"):
            ADAPTATIONS.register(name)
    for bare in (pl.scorer, pl.task, pl.objective, pl.estimator):
        with pytest.raises(ValueError, match="<built-in function len>: a name is text, with none of : @"):
            bare(len)
    for add in (pl.task, lambda name: pl.metric(name, kind="classification")):
        with pytest.raises(ValueError, match="the names auto mean something else"):
            add("auto")


class NoBounds:
    build = shapes = len


def with_settings(sources):
    return Scores(torch.zeros(1))


with_settings.settings = {"power": 1}


@pytest.mark.parametrize(
    ("registry", "thing", "said"),
    [
        (ADAPTATIONS, 5, "adaptation 'theirs' is 5: it has to have outer_loss and fit"),
        (ADAPTATIONS, None, "adaptation 'theirs' is None: it has to have outer_loss and fit"),
        (NETWORKS, len, "network 'theirs' is .*: it has to have build and shapes and bounds"),
        (NETWORKS, NoBounds, "it has to have bounds"),
        (
            KINDS,
            "signs",
            "kind 'theirs' is 'signs': it has to have metrics and read and describe and tokenize",
        ),
        (SCORERS, 5, "scorer 'theirs' is 5: it has to be a function, or a class"),
        (ENGINES, None, "engine 'theirs' is None: it has to be a function"),
        (
            SCORERS,
            with_settings,
            r"scorer 'theirs' has settings = {'power': 1}: they have to be a class",
        ),
    ],
)
def test_what_is_no_part_of_its_kind_is_refused_where_it_is_registered(registry, thing, said):
    with pytest.raises(ValueError, match=said):
        registry.register("theirs")(thing)
    assert "theirs" not in registry


def test_what_is_no_part_of_its_kind_is_refused_where_it_is_asked_for(installed):
    with pytest.raises(ValueError, match="adaptation 'number' is 5: it has to have outer_loss and fit"):
        ADAPTATIONS.get("number")

    def later(sources):
        return Scores(torch.zeros(1))

    SCORERS.register("later")(later)
    later.settings = 5  # a decorator knows nothing of what comes after it
    with pytest.raises(ValueError, match="scorer 'later' has settings = 5"):
        SCORERS.get("later")


@pytest.mark.parametrize(
    ("registry", "thing", "setting", "said"),
    [
        (
            BACKENDS,
            lambda config, data: object(),
            "cluster.backend",
            "pool of the backend 'theirs' is .* have lost",
        ),
        (OBJECTIVES, lambda problem: None, "inner.objective", "what the objective 'theirs' gave is None: .* have draw"),
        (ESTIMATORS, lambda *_: None, "learn.estimator", "estimator 'theirs' gave a NoneType: have it give a list"),
        (
            ESTIMATORS,
            lambda *_: [],
            "learn.estimator",
            "estimator 'theirs' gave a list: have it give a list of tra",
        ),
        (
            ESTIMATORS,
            lambda *a: by_credit(*a)[0],
            "learn.estimator",
            "estimator 'theirs' gave a Trajectory: have it",
        ),
    ],
)
def test_what_a_part_gives_that_is_none_of_its_kind_is_named(tiny, registry, thing, setting, said):
    registry.register("theirs")(thing)
    problem = problem_of(tiny(f"{setting}=theirs"))
    with pytest.raises(ValueError, match=said), open_pool(problem.config):
        rollout(problem, initial_policy(problem), 5)


@pytest.mark.parametrize("engine", ["replay", "finite_difference", "unroll"])
def test_an_objective_without_the_weights_of_its_tokens_is_told_what_it_lacks(tiny, engine):
    class Unweighted(MaskedLM):
        def __call__(self, model, batch, x):
            return super().__call__(model, batch, torch.ones_like(x))

    OBJECTIVES.register("theirs")(lambda problem: Unweighted())
    problem = problem_of(tiny("inner.objective=theirs", f"inner.engine={engine}", "inner.window=2"))
    with pytest.raises(ValueError, match=r"the loss of inner\.objective has no x in it: have it weigh the losses"):
        rollout(problem, initial_policy(problem), 5)


@pytest.mark.parametrize(("wrong", "said"), [(float, "is float"), (lambda loss: loss[None], r"is \[1\]")])
def test_an_objective_whose_loss_is_no_scalar_is_named(tiny, wrong, said):
    class Wrong(MaskedLM):
        def __call__(self, model, batch, x):
            return wrong(super().__call__(model, batch, x).detach())

    OBJECTIVES.register("theirs")(lambda problem: Wrong())
    problem = problem_of(tiny("inner.objective=theirs"))
    with pytest.raises(ValueError, match=rf"the loss of inner\.objective {said}: have it be a tensor without dim"):
        rollout(problem, initial_policy(problem), 5, differentiate=False)


def test_a_policy_that_nobody_would_load_is_no_fault_of_the_storage(tiny, tmp_path, quiet):
    bounds = staticmethod(lambda size: [torch.tensor(torch.inf)])
    NETWORKS.register("theirs")(type("Theirs", (NETWORKS.get("table"),), {"bounds": bounds}))
    with pytest.raises(ValueError, match=r"^logits of the policy may become as large as inf"):
        train(tiny("policy.network=theirs"), tmp_path / "run", quiet)


def test_a_tracker_and_an_adaptation_that_give_nothing_are_named(tiny, quiet):
    TRACKERS.register("theirs")(lambda *_: object())
    with pytest.raises(ValueError, match=r"track\.to: theirs cannot be used: what was opened is .* have known"):
        open_trackers(tiny("track.to=[theirs]"), "", State(), quiet).__enter__()
    ADAPTATIONS.register("theirs")(Adaptation(len, lambda *_: None))
    with pytest.raises(ValueError, match="what the adaptation 'theirs' has fitted is None: it has to have dev"):
        run_trial(problem_of(tiny("evaluate.downstream=[theirs]")), None, "none", 0)


def test_engines_and_estimators_of_others_give_a_gradient(installed, tiny):
    ours, theirs = (problem_of(tiny(*s)) for s in ((), ("inner.engine=their_replay", "learn.estimator=their_credit")))
    gradients = [rollout(problem, initial_policy(problem), 5).gradient["network.logits"] for problem in (ours, theirs)]
    assert gradients[0].any() and torch.equal(*gradients)


def test_an_objective_of_others_is_what_every_step_learns(installed, tiny):
    losses = []
    for objective in ("masked_lm", "doubled"):
        problem = problem_of(tiny("inner.optimizer=sgd", f"inner.objective={objective}"))
        losses.append(rollout(problem, initial_policy(problem), 5, differentiate=False).metrics["mlm_loss"])
    assert losses[1] > 1.5 * losses[0]
    with pytest.raises(ValueError, match=r'"relaxed" does not go with inner\.objective = "doubled".*set "credit"'):
        tiny("inner.objective=doubled", "learn.estimator=relaxed")


def test_a_kind_of_task_and_an_adaptation_of_others_are_learned_of_and_scored(installed, tiny, tmp_path):
    planted_tokenizer(PlantedConfig()).save_pretrained(tmp_path / "tokenizer")
    for split, rows in planted_task(PlantedConfig(train=60, dev=40, test=40)).splits.items():
        pairs = zip(rows.texts, rows.labels, strict=True)
        lines = [json.dumps({"text": text, "label": 2 * int(label[-1]) - 1}) for text, label in pairs]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    own = (f"task.path={tmp_path}", f"model.tokenizer={tmp_path / 'tokenizer'}", "task.kind=signs")
    problem = problem_of(tiny(*own, "outer.adaptation=like_a_probe", "evaluate.downstream=[like_a_probe]"))
    assert problem.config.task.metric == "macro_f1"
    assert problem.labelled("train").y.unique().tolist() == [0, 1]
    assert rollout(problem, initial_policy(problem), 5).gradient["network.logits"].any()
    assert 0.2 < run_trial(problem, None, "none", 0).score < 1
    with pytest.raises(ValueError, match=r"metric 'pearson' with task\.kind 'signs': set it to one of macro_f1, acc"):
        tiny(*own, "task.metric=pearson")
    keys = [evidence_key(problem_of(tiny(*own, f"task.kind={kind}"))) for kind in ("signs", "same_signs", "signs")]
    assert keys[0] == keys[2] != keys[1]


def test_networks_of_others_are_exported_and_loaded_where_they_are_known(installed, tiny, tmp_path, monkeypatch):
    problem = problem_of(tiny("policy.network=halved", "policy.prior={}"))
    policy = initial_policy(problem)
    policy.load_learned(policy.learned() | {"network.logits": torch.arange(float(len(problem.tokenizer)))})
    save_policy(tmp_path, PolicyArtefact(policy, problem.tokenizer, {}), "card")
    ids = torch.tensor([[5, 6, 9]])
    found = load_policy(tmp_path).policy(ids, torch.ones_like(ids, dtype=torch.bool))
    assert found.tolist() == [[2.5, 3.0, 4.5]]
    monkeypatch.undo()
    said = r"^policy .* has the network 'halved', which is not known here: install the package .* registers it first$"
    with pytest.raises(ValueError, match=said):
        load_policy(tmp_path)


def test_a_policy_whose_network_cannot_be_imported_is_not_called_damaged(
    installed, make_policy, tokenizer, tmp_path, monkeypatch
):
    with monkeypatch.context() as here:
        here.setitem(NETWORKS.members, "lost", NETWORKS.get("table"))
        save_policy(tmp_path, PolicyArtefact(make_policy("lost"), tokenizer, {}), "card")
    with pytest.raises(
        ValueError, match=r"^network 'lost' of their_parts 1\.2 cannot be imported: ModuleNotFoundError"
    ):
        load_policy(tmp_path)


def test_backends_and_trackers_of_others(installed, tiny, quiet):
    config = tiny("cluster.backend=their_pool", "track.to=[their_tracker]")
    pool = open_pool(config)
    assert isinstance(pool, LocalPool) and type(pool) is not LocalPool
    with open_trackers(config, "", State(history=[{"round": 0}]), quiet):
        assert TRACKERS.get("their_tracker").seen == [0]


def test_a_name_is_refused_when_a_config_is_read_and_the_nearest_proposed(tiny):
    for override, said in (
        ("inner.engine=replai", "inner.engine: unknown engine 'replai'; known: .*; did you mean 'replay'"),
        ("learn.estimator=x", "learn.estimator: unknown estimator 'x'; known: .*'relaxed'"),
        ("policy.network=tabel", "policy.network: unknown network 'tabel'; .*'table'"),
        ("cluster.backend=rays", "cluster.backend: unknown backend 'rays'; .*'ray'"),
        ("task.kind=regresion", "task.kind: unknown kind 'regresion'; .*'regression'"),
        ("inner.objective=mlm", "inner.objective: unknown objective 'mlm'; known: .*'masked_lm'"),
        ("outer.adaptation=prob", "outer.adaptation: unknown adaptation 'prob'; .*'probe'"),
        ("evaluate.downstream=[prob@20]", "evaluate.downstream.0: unknown adaptation 'prob'; .*'probe'"),
        ("track.to=[wandbb]", "track.to.0: unknown tracker 'wandbb'; .*'wandb'"),
        ("policy.prior={tfidf=1}", r"policy.prior: unknown scorer 'tfidf'; .*'tficf'"),
        ('evaluate.custom.mine.prior={"idf:rnk"=1}', r"evaluate.custom.mine.prior: unknown scorer 'idf:rnk'; .*'idf'"),
    ):
        with pytest.raises(ValueError, match=said):
            tiny(override)


def test_what_others_bring_is_among_the_settings(installed):
    (kind,) = (s.kind for section in find_sections("cluster") for s in section.settings if s.key == "cluster.backend")
    assert kind.endswith(" or their_pool")
