"""Settings of which nothing comes are told, and are not refused."""

import pytest

from policylearn.config import Config, idle, load_config
from policylearn.config.idle import idle_settings
from policylearn.config.loading import known_keys
from policylearn.problems.of_config import problem_of

DIFFUSION = "inner.objective=masked_diffusion"


@pytest.mark.parametrize(
    ("settings", "idle"),
    [
        (["masking.draws=2"], ["draws"]),
        (["masking.draws=2", "masking.design=explore"], []),
        (["masking.draws=2", "evaluate.arms=[random,explore]"], []),
        (["masking.draws=2", "evaluate.arms=[mine]", 'evaluate.custom={mine={masking={design="explore"}}}'], []),
        (["masking.span_mean=5", "masking.span_longest=7"], ["span_mean", "span_longest"]),
        (["masking.span_mean=5", "masking.unit=span"], []),
        (["masking.rate=0.3", "masking.mask_share=0.5"], []),
        (["masking.rate=0.3", "masking.mask_share=0.5", DIFFUSION], ["rate", "mask_share"]),
        (["masking.rate=0.15", "masking.mask_share=0.8", DIFFUSION], []),
        (["masking.mask_share=0", "masking.random_share=0"], ["mask_share"]),
        (["masking.mask_share=0"], []),
        (["masking.random_share=0", "masking.random_token_ids=[7]"], ["random_token_ids"]),
    ],
)
def test_settings_of_which_nothing_comes_are_named(settings, idle):
    told = list[str]()
    problem_of(load_config(None, settings), tell=told.append)
    assert [line.split("  ")[0] for line in told] == [f"masking.{name}" for name in idle]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["evaluate.arms=[none,random,live,amlm]"], []),
        (["evaluate.arms=[none,random,live,amlm]", "evaluate.downstream=[probe,joint@20]"], ["of amlm", "of live"]),
        (["evaluate.arms=[random]", "evaluate.downstream=[joint]", "masking.unit=collocation"], []),
        (["evaluate.arms=[none]", "evaluate.downstream=[joint]", "masking.unit=collocation"], ["are of words"]),
        (["outer.adaptation=joint", "masking.unit=collocation"], ["are of words"]),
    ],
)
def test_what_masks_of_joint_tuning_are_not_is_told(settings, told):
    lines = idle_settings(load_config(None, settings))
    assert all(f"masks {what}" in line for what, line in zip(told, lines, strict=True))


def test_of_pictures_settings_of_words_are_named():
    given = {"patches": {"words": 8}, "scores": {"difference": {"anchor_share": 0.1, "anchors": 3}}}
    given |= {"model": {"architecture": {"model_type": "vit_mae"}}, "policy": {"prior": {"difference": 1.0}}}
    places = {"task": {"path": "a"}, "domain": {"path": "b"}, "general": {"path": "c"}}
    assert idle_settings(Config.model_validate(given | places)) == [
        "scores.difference.anchor_share  does nothing: it is of texts"
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["inner.momentum=0.5"], "inner.momentum  does"),
        (["inner.momentum=0.5", "inner.optimizer=sgd"], ""),
        (["inner.betas=[0.8,0.9]", "inner.eps=0.1", "inner.optimizer=sgd"], "inner.betas, inner.eps  do"),
        (["inner.credit_batches=3"], "inner.credit_batches  does"),
        (["inner.credit_batches=3", "inner.engine=one_step", "inner.window=1"], ""),
        (["outer.steps=9", "outer.sparsity=0.1"], "outer.steps, outer.sparsity  do"),
        (["outer.steps=9", "outer.sparsity=0.1", "outer.adaptation=finetune"], "outer.sparsity  does"),
        (["outer.steps=9", "outer.clip=3", "outer.adaptation=weight_mask"], "outer.clip  does"),
        (["outer.mlm_weight=2", "outer.clip=3", "outer.adaptation=joint"], ""),
        (["policy.kernel=7", "policy.hidden=9"], "policy.hidden, policy.kernel  do"),
        (["policy.kernel=7", "policy.hidden=9", "policy.network=neighbours"], "policy.hidden  does"),
        (["policy.kernel=7", "policy.hidden=9", "policy.network=span"], ""),
        (["strength.factors=[0.0,1.0]", "strength.models=9"], "strength.factors, strength.models  do"),
        (["learn.rounds=3", "learn.rollouts=4", "learn.stages=[expected]"], "learn.rounds, learn.rollouts  do"),
        (["supervised.epochs=3"], "supervised.epochs  does"),
        (["learn.patience=2", "learn.select=last", "learn.stages=[supervised]", "supervised.path=a"], ""),
        (["learn.patience=2", "learn.select=last", "learn.stages=[expected]"], "learn.patience, learn.select  do"),
        (["learn.max_dropped=0.1", "learn.stages=[expected]"], "learn.max_dropped  does"),
        (["learn.max_dropped=0.1", "learn.stages=[outcomes]"], ""),
        (["supervised.path=a", "learn.stages=[supervised]", "supervised.targets=importance"], "supervised.path  does"),
        (["learn.samples=9"], "learn.samples  does"),
        (["evaluate.joint.epochs=2"], "evaluate.joint.epochs  does"),
        (["evaluate.joint.epochs=2", "evaluate.downstream=[probe,joint@20]"], ""),
        (["evaluate.subsets=3"], "evaluate.subsets  does"),
        (["evaluate.subsets=3", "evaluate.downstream=[probe@20]"], ""),
        (["evaluate.custom={mine={}, other={}}", "evaluate.arms=[mine]"], "evaluate.custom.other  does"),
        (["task.labels=[a,b]", "domain.text=body"], "task.labels  does|domain.text  does"),
        (["task.labels=[a,b]", "task.path=mine", "planted.classes=3"], ""),
        (["task.path=mine", "domain.path=mine", "general.path=mine", "planted.classes=3"], "planted.classes  does"),
        (["task.answer_length=9"], "task.answer_length  does"),
        (["model.architecture={model_type=bert}", "model.name=mine"], "model.architecture  does"),
        (["model.revision=main"], "model.revision  does"),
        (["patches.zones=2"], "patches.zones  does"),
        (["scores.difference.anchors=9", "scores.difference.anchor_words=[a]"], "scores.difference.anchors  does"),
        (["scores.entity.column=tags", "scores.entity.model=mine"], "scores.entity.model  does"),
        (["cluster.address=auto", "cluster.backend=local"], "cluster.address  does"),
        (["cluster.address=auto", "cluster.backend=local", "scores.count_on_ray=true"], ""),
        (["cluster.retries=9", "cluster.deadline=9", "cluster.backend=local"], "cluster.retries, cluster.deadline  do"),
        (["track.name=mine"], "track.name  does"),
        (["pretrain.epochs=2", "pretrain.steps=9"], "pretrain.epochs  does"),
    ],
)
def test_settings_that_others_leave_nothing_to_do_are_named_with_the_reason(settings, told):
    found = idle_settings(load_config(None, settings))
    assert [line.partition(" nothing: ")[0] for line in found] == (told.split("|") if told else [])


def test_what_is_named_twice_is_taken_once():
    given = ["evaluate.arms=[random,difference,random]", "evaluate.downstream=[probe,probe,finetune]"]
    assert [line.partition(":")[0] for line in idle_settings(load_config(None, given))] == [
        "evaluate.arms  names 'random' 2 times",
        "evaluate.downstream  names 'probe' 2 times",
    ]


def test_reasons_know_the_settings_that_there_are():
    keys = known_keys()
    of = {"outer": idle.OF_OUTER, "inner": idle.OF_OPTIMIZER, "policy": idle.OF_NETWORKS}
    named = [f"{section}.{name}" for section, table in of.items() for names in table.values() for name in names]
    named += [f"{section}.{name}" for section, names in idle.OF_DATA.items() for name in names]
    named += [
        key for names in idle.OF_STAGES.values() for key in names if key not in ("supervised", "outcomes", "strength")
    ]
    assert named and not {*named} - {*keys}
    read = {key for names in idle.OF_OUTER.values() for key in names} | {"adaptation", "support", "query", "parameters"}
    assert {f"outer.{key}" for key in read} == {key for key in keys if key.startswith("outer.")}
