"""Work on a GPU says what it says on the CPU, and the same bits every time; skipped where there is none."""

import json
import shutil

import pytest
import torch

from policylearn.arms.arms import arm_policy, initial_policy
from policylearn.arms.policies import scores_of
from policylearn.cluster.worker import Worker
from policylearn.commands.adapt import adapt
from policylearn.commands.diagnose import diagnose
from policylearn.commands.reproduce import reproduce_baseline, reproduce_trial
from policylearn.commands.train import train
from policylearn.evaluation.trial import run_trial
from policylearn.learning.rollout import rollout
from policylearn.models.device import device_here
from policylearn.problems.of_config import problem_of

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture
def problems(tiny):
    """`problems("inner.window=2", …)`: those of a worker on the CPU and of one on the GPU."""
    return lambda *settings: [Worker(tiny(*settings, f"cluster.gpus={gpus}")).problem for gpus in (0, 1)]


def gradient(problem, seed=1_000_000):
    found = rollout(problem, initial_policy(problem), seed).gradient
    assert all(value.device.type == "cpu" for value in found.values())
    return torch.cat([value.flatten() for value in found.values()])


def test_asking_for_gpus_where_there_are_none(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny("cluster.gpus=1")
    with pytest.raises(ValueError, match=r"cluster\.gpus is 1, and torch sees no GPU here; set it to 0 for the CPU"):
        Worker(config)
    assert device_here(config.cluster) == "cpu"  # who gives workers their work may do without


def test_a_run_on_gpus_is_reproduced_on_a_cpu_where_there_are_none(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    shutil.copytree(finished, tmp_path / "run")
    known = json.loads((tmp_path / "run" / "config.json").read_text())
    known["cluster"]["gpus"] = 0.5
    (tmp_path / "run" / "config.json").write_text(json.dumps(known))
    said, trial = "the run has GPUs, and torch sees none here: this is computed on the CPU", ("random", 0)
    assert reproduce_trial(tmp_path / "run", *trial).score == reproduce_trial(finished, *trial).score
    assert said in capsys.readouterr().out
    assert reproduce_baseline(tmp_path / "run", 1_000_000) == reproduce_baseline(finished, 1_000_000)
    assert said in capsys.readouterr().out


@needs_gpu
@pytest.mark.parametrize("engine", ["replay", "finite_difference", "one_step", "unroll"])
@pytest.mark.parametrize("adaptation", ["probe", "finetune", "weight_mask"])
def test_the_policy_gradient_of_a_rollout(problems, engine, adaptation):
    window = 1 if engine == "one_step" else 2
    cpu, gpu = problems(f"inner.engine={engine}", f"inner.window={window}", f"outer.adaptation={adaptation}")
    first, second = gradient(gpu), gradient(gpu)
    assert torch.cosine_similarity(gradient(cpu), first, dim=0) > 0.999
    assert torch.equal(first, second)


@needs_gpu
@pytest.mark.parametrize("estimator", ["relaxed", "score_function"])
def test_other_estimators(problems, estimator):
    settings = (f"learn.estimator={estimator}", "learn.samples=2", 'masking.design="independent"')
    cpu, gpu = (rollout(p, initial_policy(p), 1_000_000).metrics["mlm_loss"] for p in problems(*settings))
    assert cpu == pytest.approx(gpu, rel=1e-3)


@needs_gpu
@pytest.mark.parametrize("method", ["probe", "finetune", "weight_mask"])
def test_a_trial(problems, method):
    settings = (f'evaluate.downstream=["{method}"]', "evaluate.finetune.epochs=2", "evaluate.weight_mask.epochs=2")
    cpu, gpu = (run_trial(p, arm_policy(p, "random"), "random", 0) for p in problems(*settings))
    assert cpu.masked_tokens == gpu.masked_tokens
    assert cpu.mlm_loss == pytest.approx(gpu.mlm_loss, rel=1e-3)


@needs_gpu
@pytest.mark.parametrize("scorer", ["credit", "saliency", "loss", "difference", "selective"])
def test_scores(tiny, scorer):
    cpu, gpu = (scores_of(problem_of(tiny(), device=device), [scorer])[scorer].types for device in ("cpu", "cuda"))
    assert gpu.device.type == "cpu"
    assert torch.corrcoef(torch.stack([cpu, gpu]).double())[0, 1] > 0.999


@needs_gpu
def test_a_whole_run_twice(tiny, tmp_path, quiet):
    config = tiny("cluster.gpus=1", "policy.prior={difference=2.0,credit=1.0}")
    first, second = (train(config, tmp_path / name, quiet) for name in ("first", "second"))
    assert [first["arms"][arm]["scores"] for arm in first["arms"]] == [a["scores"] for a in second["arms"].values()]
    phi = [(tmp_path / name / "policy" / "policy.safetensors").read_bytes() for name in ("first", "second")]
    assert phi[0] == phi[1]


@needs_gpu
def test_a_diagnosis(tiny, quiet):
    few = ("credit.points=2", "credit.batches=3", "diagnose.shuffles=1", "diagnose.least=2", "diagnose.draws=50")
    assert -1 <= diagnose(tiny("cluster.gpus=1", *few), quiet)["reliability"] <= 1


@needs_gpu
@pytest.mark.parametrize("method", ["finetune", "weight_mask"])
def test_adapting_a_model(tiny, tmp_path, quiet, method):
    adapted = adapt(tiny("cluster.gpus=1"), tmp_path / method, method, True, 0, quiet)
    assert (adapted.written["model"] / "config.json").exists()
