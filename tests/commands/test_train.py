import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from policylearn.artefact import load_policy
from policylearn.cluster.pool import LocalPool
from policylearn.commands.train import train
from policylearn.config import Config, resolved_json
from policylearn.learning.rollout import rollout
from policylearn.models.device import without_gpus
from policylearn.registry.known import TRACKERS
from policylearn.report.console import RoundProgress
from policylearn.runs.run import Run
from policylearn.runs.state import load_latest

SHORT = ("learn.rounds=1", "evaluate.seeds=0")


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def final_state(folder):
    state, complaints = load_latest(folder / "checkpoints")
    assert complaints == []
    return state


def assert_same_run(one, other) -> None:
    """φ, moments, the exported policy and the comparison, to the last bit."""
    mine, theirs = final_state(one), final_state(other)
    for ours, yours in ((mine.tensors, theirs.tensors), (mine.best, theirs.best)):
        assert ours.keys() == yours.keys()
        assert all(torch.equal(ours[name], yours[name]) for name in ours)
    tensors, others = (load_file(folder / "policy" / "policy.safetensors") for folder in (one, other))
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)
    dev = [[line["dev"] for line in lines(folder / "metrics.jsonl")] for folder in (one, other)]
    assert dev[0] == dev[1]
    arms = [json.loads((folder / "result.json").read_text())["arms"] for folder in (one, other)]
    assert {a: v["scores"] for a, v in arms[0].items()} == {a: v["scores"] for a, v in arms[1].items()}


def test_a_run_leaves_behind_what_it_promises(finished, tiny):
    left = {path.name for path in finished.iterdir()}
    promised = {"config.json", "metrics.jsonl", "checkpoints", "policy", "result.json", "report.html"}
    assert promised <= left
    assert not [path for path in finished.rglob("*") if path.name.endswith(".partial")]
    assert (finished / "config.json").read_text(encoding="utf-8") == resolved_json(tiny())
    assert Config.model_validate_json((finished / "config.json").read_text(encoding="utf-8")) == tiny()


def test_metrics_have_one_line_per_round(finished):
    records = lines(finished / "metrics.jsonl")
    assert [record["round"] for record in records] == [0, 1, 2]
    for record in records:
        assert {"outer_loss", "dev", "baselines", "rate", "entropy", "kl", "workers", "seconds"} <= record.keys()
        assert len(record["dev_scores"]) == 2
        assert record["baselines"] == {"random": record["baselines"]["random"], "difference": records[0]["dev"]}
        assert all(math.isfinite(value) for value in record.values() if isinstance(value, float))
    assert records[0]["kl"] == pytest.approx(0, abs=1e-9)  # round 0 ran with the prior
    assert records[2]["kl"] > 0


def test_the_result_compares_the_arms_at_equal_numbers_of_masked_tokens(finished, tiny):
    result = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    assert list(result["arms"]) == ["random", "difference", "learned", "oracle"]
    for values in result["arms"].values():
        assert [len(values[key]) for key in ("scores", "masked_tokens", "seconds")] == [2, 2, 2]
        assert all(0 <= score <= 1 for score in values["scores"])
        assert all(seconds > 0 for seconds in values["seconds"])
    counts = [values["masked_tokens"] for values in result["arms"].values()]
    assert all(count == counts[0] for count in counts)
    config = tiny()
    tokens = config.inner.steps * config.inner.batch_size * config.planted.length
    assert counts[0][0] == pytest.approx(config.masking.rate * tokens, rel=0.1)
    assert result["seeds"] == [0, 1]
    assert result["metric"] == "accuracy"
    assert result["provenance"]["command"] == "policylearn train tiny.toml"
    assert len(lines(finished / "trials.jsonl")) == 8


def test_the_exported_policy_is_the_one_that_was_chosen(finished, tiny):
    artefact, state = load_policy(finished / "policy"), final_state(finished)
    assert torch.equal(artefact.policy.learned()["network.logits"], state.best["network.logits"])
    assert artefact.policy.masking == tiny().masking
    assert artefact.provenance["task"] == "planted"
    card = (finished / "policy" / "README.md").read_text(encoding="utf-8")
    assert "What it likes to mask" in card
    assert "| learned |" in card


@pytest.mark.parametrize("network", ["none", "context", "span"])
def test_a_card_of_uniform_masks_says_so(tiny, tmp_path, quiet, network):
    uniform = ("policy.prior={}", f"policy.network={network}", "learn.rounds=0", "evaluate.seeds=0")
    train(tiny(*uniform), tmp_path / "run", quiet)
    card = (tmp_path / "run" / "policy" / "README.md").read_text()
    assert "## What it likes to mask\n\nNothing more than the rest: it is uniform over tokens." in card


def test_the_last_policy_is_exported_where_the_config_says_so(tiny, tmp_path, quiet):
    train(tiny("learn.rounds=2", "evaluate.seeds=0", "learn.select=last"), tmp_path / "run", quiet)
    exported = load_policy(tmp_path / "run" / "policy").policy.learned()["network.logits"]
    assert torch.equal(exported, final_state(tmp_path / "run").tensors["phi.network.logits"])
    assert exported.abs().max() > 0


def test_the_report_is_one_page_that_needs_no_network(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "policylearn: tiny" in page
    assert "class0_0" in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_the_policy_has_moved(finished):
    state = final_state(finished)
    assert state.round == 3
    assert state.tensors["phi.network.logits"].abs().max() > 0
    assert state.tensors["adam.network.logits.step"].item() == 3


def stop(patch, owner, name: str, calls: int) -> None:
    """Raise KeyboardInterrupt once, at the end of that call of a method."""
    original, left = getattr(owner, name), [calls]

    def counted(*arguments, **settings):
        result = original(*arguments, **settings)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return result

    patch.setattr(owner, name, counted)


def test_a_run_stopped_anywhere_continues_to_the_same_bits(finished, tiny, tmp_path, quiet, monkeypatch):
    folder, seeds, progress = tmp_path / "run", [], []

    def counted(problem, policy, seed, differentiate=True):
        seeds.append(seed)
        return rollout(problem, policy, seed, differentiate)

    monkeypatch.setattr("policylearn.learning.rounds.rollout", counted)
    for owner, method, calls in (
        (RoundProgress, "update", 1),  # round 1 is over
        (RoundProgress, "advance", 1),  # in the middle of round 2
        (RoundProgress, "advance", 4),  # round 2 is over; all rollouts of round 3 are back, and nothing is on disk
        (Run, "save_trials", 3),  # in the evaluation
    ):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            stop(patch, owner, method, calls)
            train(tiny(), folder, quiet)
        assert not (folder / "result.json").exists()
        progress.append(len(lines(folder / "metrics.jsonl")))
    assert progress == [1, 1, 2, 3]
    assert len(lines(folder / "trials.jsonl")) == 3
    train(tiny(), folder, quiet)
    assert_same_run(folder, finished)
    assert len(seeds) == 2 + 3 * 2 + 1 + 2  # baseline, three rounds, and again what was cut short


def test_a_damaged_checkpoint_costs_a_round_and_no_bits(finished, tiny, tmp_path, quiet, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop(patch, RoundProgress, "update", 2)
        train(tiny(), folder, quiet)
    newest = folder / "checkpoints" / "round-0002" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    train(tiny(), folder, quiet)
    assert "round-0002 is damaged and was passed over" in quiet.file.getvalue()
    assert_same_run(folder, finished)


def test_a_finished_run_returns_at_once_with_its_result(finished, tiny, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.commands.train.problem_of_run", None)  # nothing is built, let alone trained
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}  # nothing is written: it may be read-only
    result = train(tiny(), finished, quiet)
    assert result == json.loads((finished / "result.json").read_text(encoding="utf-8"))
    assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*")}


def test_where_a_run_is_made_does_not_change_it(finished, tiny, quiet):
    """It is known again, and neither run once more nor written anew."""
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != "config.json"}
    kept = json.loads((finished / "result.json").read_text(encoding="utf-8"))
    for moved in (tiny("cluster.workers=7", "cluster.backend=ray"), tiny()):
        assert train(moved, finished, quiet) == kept
        assert before == {path: path.read_bytes() for path in before}
        assert json.loads((finished / "config.json").read_text())["cluster"] == moved.cluster.model_dump(mode="json")


def test_a_run_of_a_version_with_fewer_settings_is_found_again(finished, tiny, tmp_path, quiet):
    folder = shutil.copytree(finished, tmp_path / "run")
    known = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del known["supervised"], known["task"]["answer_length"], known["evaluate"]["weight_mask"]["epochs"]
    (folder / "config.json").write_text(json.dumps(known), encoding="utf-8")
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    train(tiny(), folder, quiet)
    assert before == (folder / "metrics.jsonl").stat().st_mtime_ns
    assert (folder / "config.json").read_text(encoding="utf-8") == resolved_json(tiny())
    with pytest.raises(ValueError, match=r"other settings \(task\.answer_length was 16, now 8\)"):
        train(tiny("task.answer_length=8"), folder, quiet)
    known["inner"]["forgotten"] = known["inner"].pop("steps")
    (folder / "config.json").write_text(json.dumps(known), encoding="utf-8")
    with pytest.raises(ValueError, match=r"inner\.steps was None, now 7"):
        train(tiny(), folder, quiet)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("inner.steps=9", "inner.steps was 7, now 9"),
        ("learn.rounds=4", "learn.rounds was 3, now 4"),
    ],
)
def test_other_settings_on_the_same_folder_are_refused_and_named(finished, tiny, quiet, override, said):
    with pytest.raises(ValueError, match="holds a run with other settings") as error:
        train(tiny(override), finished, quiet)
    assert said in str(error.value)
    assert str(finished) in str(error.value)
    assert "--fresh" in str(error.value)
    assert (finished / "config.json").read_text(encoding="utf-8") == resolved_json(tiny())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("cluster.threads=2", "cluster.threads was 1, now 2: what is new may differ in its last bits"),
        ("cluster.workers=3", ""),
    ],
)
def test_a_run_moves_to_another_cluster_and_says_where_that_changes_bits(
    finished, tiny, tmp_path, quiet, override, said
):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    Run.open(tmp_path / "run", tiny(override), quiet)
    assert said in quiet.file.getvalue() and ("last bits" in quiet.file.getvalue()) == bool(said)


def test_fresh_starts_over_with_other_settings(tiny, tmp_path, quiet):
    folder = tmp_path / "run"
    train(tiny(*SHORT), folder, quiet)
    (folder / "notes.md").touch()
    train(tiny(*SHORT, "learn.seed=1"), folder, quiet, fresh=True)
    assert (folder / "notes.md").exists()  # somebody's own
    assert Config.model_validate_json((folder / "config.json").read_text()).learn.seed == 1
    assert len(lines(folder / "metrics.jsonl")) == 1


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("general.path=no/such.txt", "such.txt"),
        ("scores.difference.anchor_ratio=1e9", "anchor"),
        ("cluster.gpus=1", "torch sees no GPU here"),
        ("learn.stages=[supervised] supervised.path=planted", "without questions"),
        ("track.to=[broken]", "cannot be used: no login"),
    ],
)
def test_a_mistake_beside_fresh_costs_nothing(finished, tiny, quiet, monkeypatch, mistake, said):
    def broken(*given):
        raise OSError("no login")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setitem(TRACKERS.members, "broken", broken)
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=said):
        train(tiny(*mistake.split()), finished, quiet, fresh=True)
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_that_holds_something_else_is_left_alone(tiny, tmp_path, quiet, fresh):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(tiny(), tmp_path, quiet, fresh=fresh)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_checkpoint_with_a_config_of_its_own_is_no_run(tiny, tmp_path, quiet, fresh):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"years of work")
    with pytest.raises(ValueError, match="not empty and holds no run"):
        train(tiny(), tmp_path, quiet, fresh=fresh)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "bert"}'
    assert (tmp_path / "model.safetensors").read_bytes() == b"years of work"


def test_without_seeds_there_is_a_policy_and_no_comparison(tiny, tmp_path, quiet):
    result = train(tiny(*SHORT), tmp_path / "run", quiet)
    assert result["arms"] == {}
    load_policy(tmp_path / "run" / "policy")
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("setting", ["learn.rounds=0", "policy.network=none"])
def test_without_learning_the_prior_is_exported(tiny, tmp_path, quiet, setting):
    train(tiny(setting, "evaluate.seeds=1", 'evaluate.arms=["difference", "learned"]'), tmp_path / "run", quiet)
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert result["arms"]["learned"]["scores"] == result["arms"]["difference"]["scores"]


def test_patience_ends_a_run_early(tiny, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.learning.rounds.smoothed_dev", lambda history: 0.5)  # never better than round 0
    train(tiny("learn.rounds=9", "learn.patience=1", "evaluate.seeds=0"), tmp_path / "run", quiet)
    assert len(lines(tmp_path / "run" / "metrics.jsonl")) == 2


def test_an_arm_that_cannot_be_built_is_refused_before_anything_is_learned(tiny, tmp_path, quiet):
    config = tiny('evaluate.arms=["random", "difference"]', "policy.prior={}", "scores.difference.anchor_ratio=1e9")
    with pytest.raises(ValueError, match="anchor"):
        train(config, tmp_path / "run", quiet)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    train(tiny('evaluate.arms=["random"]', "policy.prior={}", *SHORT), tmp_path / "run", quiet)  # which makes room


def test_an_unknown_arm_is_refused_before_anything_is_trained(tiny, tmp_path, quiet):
    with pytest.raises(ValueError, match=r"evaluate\.arms: unknown arm 'randon'"):
        train(tiny('evaluate.arms=["randon"]'), tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


def test_what_needs_no_worker_needs_no_gpu_of_one(tiny, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = tiny("cluster.backend=local", "cluster.gpus=1")
    with pytest.raises(ValueError, match="torch sees no GPU here"):
        LocalPool(config)
    assert list(LocalPool(without_gpus(config)).results([])) == []


def test_a_run_of_one_process_has_the_threads_of_a_worker_before_anything_is_scored(tiny, tmp_path, quiet):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        out = tmp_path / "run"
        seen = []

        def score(problem):
            seen.append(torch.get_num_threads())
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("policylearn.commands.train._first_policy", score)
            train(tiny("cluster.backend=local", "cluster.threads=1"), out, quiet)
        assert seen == [1]
    finally:
        torch.set_num_threads(threads)
