"""A model trained further for use: what it is, that it goes on where it stopped, on any number of processes."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, TrainerCallback

from policylearn.arms.arms import arm_policy
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.commands import pretrain as command
from policylearn.config import PretrainConfig
from policylearn.data.tokens import TokenRows
from policylearn.pretrain import training
from policylearn.pretrain.material import check_labels, material_of
from policylearn.pretrain.record import Record
from policylearn.pretrain.rows import TextRows, Unnumbered
from policylearn.pretrain.training import filled_up, shares
from policylearn.problems.of_config import problem_of
from policylearn.runs.preemption import Preempted
from policylearn.runs.provenance import fingerprint
from policylearn.storage.folder import StorageFailed, files_below

SHORT = ["pretrain.steps=6", "pretrain.batch_size=8", "pretrain.save_every=2", "pretrain.learning_rate=1e-3"]


@pytest.fixture(scope="module")
def trained(tiny, finished, tmp_path_factory):
    """A model trained without disturbance under the policy of a run; and what was said."""
    out, console = tmp_path_factory.mktemp("pretrained") / "model", training.Console(record=True, width=200)
    done = command.pretrain(tiny(*SHORT), out, console, str(finished))
    return done, console.export_text()


def weights(folder):
    return AutoModelForMaskedLM.from_pretrained(folder).state_dict()


def test_what_comes_out_is_a_plain_checkpoint_with_its_head_and_tokenizer(trained, tiny_problem):
    done, said = trained
    assert done.result["steps"] == 6 and done.result["texts"] == len(tiny_problem.domain) and not done.before
    before = tiny_problem.fresh_model(0).mlm.state_dict()
    after = weights(done.folder)
    assert before.keys() == after.keys() and not torch.equal(before[next(iter(before))], after[next(iter(after))])
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    features = AutoModel.from_pretrained(done.folder)(**tokenizer("class0_01 generic_003", return_tensors="pt"))
    assert features.last_hidden_state.shape[-1] == 16
    card = (done.folder / "README.md").read_text()
    assert "library_name: transformers" in card and "under the masks of run" in card and "- steps: 6" in card
    assert "masks  the masks of run; 0.15 of the tokens, by token" in said and "pretraining, steps" in said
    assert not (done.folder / "checkpoints").exists() and not [*done.folder.glob("*.bin")]  # no pickle


class Interrupt(TrainerCallback):
    """Ctrl-C after the third step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(monkeypatch):
    """Within it, trainings are interrupted."""

    @contextmanager
    def within():
        trainer_of = command.trainer_of

        def stopping(*given):
            trainer = trainer_of(*given)
            trainer.add_callback(Interrupt())
            return trainer

        with monkeypatch.context() as patched:
            patched.setattr(command, "trainer_of", stopping)
            yield

    return within


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint_to_the_same_bits(
    trained, tiny, tiny_toml, finished, policylearn, tmp_path, monkeypatch, interrupted
):
    out = tmp_path / "model"
    words = ["pretrain", tiny_toml, *SHORT, "--policy", finished, "--out", out]

    with interrupted():
        status, _, said = policylearn(*words)
    assert status == 130 and f"{out} keeps the checkpoint after step 2" in said
    monkeypatch.setattr(sys, "argv", [])
    status, said, wrong = policylearn(*words)
    assert status == 0, wrong
    assert "goes on from" in said and "checkpoint-2" in said and "(6 steps on" in said
    once, twice = weights(trained[0].folder), weights(out)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    assert f"{out} is finished" in policylearn(*words)[1]
    status, _, said = policylearn("pretrain", tiny_toml, *SHORT, "pretrain.seed=1", "--policy", finished, "--out", out)
    assert (
        status == 2
        and "holds a pretraining with other settings (seed was 0, now 1; the model's weights are others" in said
    )


def test_a_policy_without_a_config_is_told_whose_texts_are_taken(policylearn, saved_policy, tmp_path):
    """Here the policy is none of theirs."""
    status, out, _ = policylearn("pretrain", "--policy", saved_policy, "--out", tmp_path / "model")
    assert status == 2 and f"none is given: the planted benchmark; of a run it is {saved_policy}/config.json" in out


def cut_short(trainer_class, monkeypatch, error):
    """From now on the second checkpoint has weights, and no more: what saves an optimiser raises."""
    save = trainer_class._save_optimizer_and_scheduler

    def failing(trainer, place):
        if place.endswith("checkpoint-4"):
            raise error
        save(trainer, place)

    monkeypatch.setattr(trainer_class, "_save_optimizer_and_scheduler", failing)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (Preempted(), 75),
        (OSError(28, "No space left on device"), 1),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 1),
        (SafetensorError("No space left on device"), 1),
    ],
)
def test_a_training_that_is_stopped_within_a_checkpoint_goes_on_from_the_one_before(
    trained, tiny_toml, finished, policylearn, tmp_path, monkeypatch, error, status
):
    words = ["pretrain", tiny_toml, *SHORT, "--policy", finished, "--out", tmp_path / "model"]
    with monkeypatch.context() as patched:
        cut_short(training.Trainer, patched, error)
        ended, _, said = policylearn(*words)
    assert ended == status and "keeps the checkpoint after step 2" in said
    assert status != 1 or f"checkpoints cannot be written: {error}" in said
    status, said, wrong = policylearn(*words)
    assert status == 0 and "checkpoint-2" in said, wrong
    once, twice = weights(trained[0].folder), weights(tmp_path / "model")
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("settings", [SHORT, [*SHORT, "pretrain.labels=16"]])
def test_a_training_whose_last_checkpoint_is_of_its_last_step_has_no_step_to_do(
    tiny, tmp_path, quiet, monkeypatch, settings
):
    whole = command.pretrain(tiny(*settings), tmp_path / "whole", quiet)
    save_model = training.Trainer.save_model

    def full(trainer, place=None, _internal_call=False):
        if not _internal_call:
            raise OSError(28, "No space left on device")
        save_model(trainer, place, _internal_call)

    with monkeypatch.context() as patched, pytest.raises(StorageFailed, match=r"stopped cannot be written: .*No space"):
        patched.setattr(training.Trainer, "save_model", full)
        command.pretrain(tiny(*settings), tmp_path / "stopped", quiet)
    again = command.pretrain(tiny(*settings), tmp_path / "stopped", quiet)
    assert again.result == whole.result and whole.result["steps"] == 6
    once, twice = weights(whole.folder), weights(again.folder)
    assert once.keys() == twice.keys() and all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("rate", ["1e-3", "1e9"])
def test_the_cursor_is_back_whatever_ends_a_training(tiny, tmp_path, interrupted, rate):
    terminal = training.Console(file=io.StringIO(), force_terminal=True, width=120)
    with interrupted(), pytest.raises((KeyboardInterrupt, FloatingPointError)):
        command.pretrain(tiny(*SHORT, f"pretrain.learning_rate={rate}"), tmp_path / "model", terminal)
    shown = terminal.file.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0


NOMIC = (
    'model.architecture={model_type="nomic_bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, '
    "intermediate_size=32}"
)


def test_a_model_that_is_saved_under_other_names_goes_on_from_its_checkpoint_too(tiny, tmp_path, quiet, interrupted):
    """`Trainer` by itself would go on from the weights of the start, and say nothing."""
    config = tiny(*SHORT, NOMIC)
    whole = command.pretrain(config, tmp_path / "whole", quiet)

    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(config, tmp_path / "stopped", quiet)
    again = command.pretrain(config, tmp_path / "stopped", quiet)
    once, twice = weights(whole.folder), weights(again.folder)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_training_that_was_refused_makes_room_for_another(tiny, tmp_path, quiet):
    short = [setting for setting in SHORT if not setting.startswith("pretrain.batch_size")]
    with pytest.raises(ValueError, match="set it to a multiple"):
        command.pretrain(tiny(*short, "pretrain.batch_size=7", "pretrain.micro_batch=3"), tmp_path / "model", quiet)
    done = command.pretrain(tiny(*short, "pretrain.batch_size=6", "pretrain.micro_batch=3"), tmp_path / "model", quiet)
    card = (done.folder / "README.md").read_text()
    assert "- masks (a hash of them): " in card and f"- steps: {done.result['steps']}" in card
    assert "- bf16: " in card and ": None" not in card


def test_a_training_knows_its_model_by_what_it_is_and_not_by_its_name(trained, tiny, finished, tmp_path, quiet):
    problem, out = problem_of(tiny()), tmp_path / "out"
    for place, seed in (("a", 1), ("b", 2)):
        problem.fresh_model(seed).mlm.save_pretrained(tmp_path / place / "model")
        problem.tokenizer.save_pretrained(tmp_path / place / "model")
    first, second = (tiny(*SHORT, f"model.name={tmp_path / place / 'model'}") for place in "ab")
    command.pretrain(first, out, quiet)
    assert command.pretrain(first, out, quiet).before
    with pytest.raises(ValueError, match=r"holds a pretraining with other settings \(the model's weights are others"):
        command.pretrain(second, out, quiet)
    other = tiny(*SHORT, "model.architecture.hidden_dropout_prob=0.3")
    with pytest.raises(ValueError, match=r"other settings \(architecture was .*'hidden_dropout_prob': 0\.3"):
        command.pretrain(other, trained[0].folder, quiet, str(finished))


def test_a_record_from_before_models_were_known_by_their_weights_is_known(trained, tiny, finished, tmp_path, quiet):
    shutil.copytree(trained[0].folder, tmp_path / "model")
    record = json.loads((tmp_path / "model" / "pretrain.json").read_text())
    del record["made_from"]["weights"], record["made_from"]["architecture"]
    (tmp_path / "model" / "pretrain.json").write_text(json.dumps(record))
    assert command.pretrain(tiny(*SHORT), tmp_path / "model", quiet, str(finished)).before


def test_a_training_that_goes_on_from_such_a_record_is_known_by_its_weights_from_then_on(tmp_path):
    made_from = {"model": "name", "steps": 4}
    Record.open(tmp_path, made_from)
    (tmp_path / "checkpoints").mkdir()
    Record.open(tmp_path, made_from | {"weights": "some"})
    for _ in range(2):
        assert Record.open(tmp_path, made_from | {"weights": "some"}).result is None
        with pytest.raises(ValueError, match=r"other settings \(the model's weights are others\)"):
            Record.open(tmp_path, made_from | {"weights": "others"})


def test_random_masks_by_collocation_know_those_of_the_domain(tiny, tmp_path):
    others = [f"generic_{number:03d}" for number in range(2, 12)]
    texts = [" ".join([*others[: n % 9], "generic_000 generic_001", *others[n % 9 :]]) for n in range(200)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    problem = problem_of(tiny("masking.unit=collocation", f"domain.path='{tmp_path / 'texts.txt'}'"))
    masks = material_of(problem, None).masks
    assert len(masks.field.collocations) and fingerprint(masks) == fingerprint(arm_policy(problem, "random"))


def test_of_a_training_that_is_begun_again_no_model_is_left_but_what_comes_of_it(
    trained, tiny, finished, tmp_path, quiet, interrupted
):
    out = tmp_path / "model"
    shutil.copytree(trained[0].folder, out)
    (out / "notes.txt").write_text("mine")
    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(tiny(*SHORT, "pretrain.seed=1"), out, quiet, str(finished), fresh=True)
    assert not [*out.glob("*.safetensors"), *out.glob("README.md")] and (out / "notes.txt").exists()
    command.pretrain(tiny(*SHORT, "pretrain.seed=1"), out, quiet, str(finished))
    assert "- seed: 1" in (out / "README.md").read_text() and weights(out)


BART = "model.architecture={model_type='bart', d_model=16, encoder_layers=1, decoder_layers=1}"


@pytest.mark.parametrize("setting", ["pretrain.micro_batch=3", BART])
def test_what_is_refused_costs_no_checkpoint(tiny, tmp_path, quiet, interrupted, setting):
    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(tiny(*SHORT), tmp_path / "model", quiet)
    before = files_below(tmp_path / "model")
    with pytest.raises(ValueError, match=r"cannot be dealt out evenly|needs a masked language model"):
        command.pretrain(tiny(*SHORT, setting), tmp_path / "model", quiet, fresh=True)
    assert files_below(tmp_path / "model") == before


@pytest.mark.parametrize("record", ["", '{"made_from": {}', "{}", "[]", "null", '{"made_from": 3, "result": null}'])
def test_a_damaged_record_is_named_and_can_be_forgotten(tiny, tmp_path, quiet, interrupted, record):
    (tmp_path / "pretrain.json").write_text(record)
    with pytest.raises(ValueError, match=r"/pretrain\.json is damaged: .+; choose another --out, or start over"):
        command.pretrain(tiny(*SHORT), tmp_path, quiet)
    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(tiny(*SHORT), tmp_path, quiet, fresh=True)


def test_random_masks_of_a_falling_rate_are_said(tiny_toml, policylearn, tmp_path):
    rate = "pretrain.rate={kind='linear', rates=[0.3, 0.15]}"
    status, said, wrong = policylearn("pretrain", tiny_toml, *SHORT, rate, "--out", tmp_path / "model")
    assert status == 0, wrong
    assert "masks  random masks (no --policy); 0.3 → 0.15 of the tokens" in said
    made_from = json.loads((tmp_path / "model" / "pretrain.json").read_text())["made_from"]
    assert made_from["rate"] == "0.3 → 0.15"


@pytest.mark.parametrize(("rate", "told"), [("0.3", False), ("{kind='linear', rates=[0.3, 0.15]}", True)])
def test_a_rate_that_moves_is_not_quite_as_it_would_have_been_after_a_stop(tiny, tmp_path, interrupted, rate, told):
    config, console = tiny(*SHORT, f"pretrain.rate={rate}"), training.Console(record=True, width=200)
    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(config, tmp_path, console)
    command.pretrain(config, tmp_path, console)
    said = console.export_text()
    assert "goes on from " in said and ("its rate moves" in said) == told


@pytest.fixture
def on_two_processes(tmp_path):
    """`on_two_processes("pretrain", …)`: what the command says that torchrun starts twice, on CPUs, in `tmp_path`."""

    def run(*words: str) -> str:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launch, "-m", "policylearn", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_two_processes_and_steps_in_parts_train_the_model_that_one_does(
    trained, tiny, tiny_toml, finished, on_two_processes, tmp_path, quiet
):
    said = on_two_processes("pretrain", str(tiny_toml), *SHORT, "--policy", str(finished), "--out", "model")
    assert said.count("model  model  (6 steps") == 1
    command.pretrain(tiny(*SHORT, "pretrain.micro_batch=2"), tmp_path / "parts", quiet, str(finished))
    one, two, parts = (weights(path) for path in (trained[0].folder, tmp_path / "model", tmp_path / "parts"))
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-4) and torch.allclose(one[name], parts[name], atol=1e-4)


def test_packed_rows_hold_whole_texts_whose_masks_are_those_they_have_alone(tiny_problem, make_policy, tokenizer):
    texts = tokenizer(["class0_01 generic_003 generic_004", "generic_001 class0_02", "generic_005 generic_002"])
    ids = [np.array(row, dtype=np.int32) for row in texts["input_ids"]]
    rows = TokenRows(np.concatenate(ids), np.cumsum([0, *map(len, ids)]))
    assert [len(TextRows(rows, [], size)) for size in (None, 9, 100)] == [3, 2, 1]
    collator = PolicyCollator(tokenizer, policy=make_policy())
    collator.set_epoch(0)
    together = Unnumbered(collator)([TextRows(rows, [], 100)[0]])
    assert set(together) == {"input_ids", "labels", "attention_mask"}
    alone = [collator([{"input_ids": row.tolist()}]) for row in ids]
    for name in ("input_ids", "labels"):
        assert torch.equal(together[name], torch.cat([batch[name] for batch in alone], 1))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("pretrain.rate=0.95", r"pretrain\.rate 0\.95: "),
        ("pretrain.labels=1000", r"pretrain\.labels 1000 in every step, and train has 60: set it to fewer"),
    ],
)
def test_what_is_out_of_range_is_named(tiny, tmp_path, quiet, setting, said):
    with pytest.raises(ValueError, match=said):
        command.pretrain(tiny(*SHORT, setting), tmp_path / "model", quiet)


LABELS = [*SHORT, "pretrain.labels=16"]


@pytest.fixture(scope="module")
def labelled(tiny, tmp_path_factory):
    """The same under random masks, beside labels; and what was said."""
    out, console = tmp_path_factory.mktemp("labelled") / "model", training.Console(record=True, width=200)
    return command.pretrain(tiny(*LABELS), out, console), console.export_text()


@pytest.mark.parametrize("labels", [0, 4])
def test_a_training_that_diverges_ends_there(tiny, tmp_path, quiet, labels):
    config = tiny(*SHORT, "pretrain.learning_rate=1e9", f"pretrain.labels={labels}")
    with pytest.raises(FloatingPointError, match=r"the loss became .* lower pretrain\.learning_rate"):
        command.pretrain(config, tmp_path, quiet)
    assert not list(tmp_path.glob("*.safetensors"))


TOO_FAST = ("pretrain.learning_rate=3e38", "pretrain.weight_decay=100")


def test_weights_that_break_in_the_last_step_are_seen(tiny, tmp_path, quiet):
    with pytest.raises(FloatingPointError, match=r"weights became NaN or infinite, .* lower pretrain\.learning_rate"):
        command.pretrain(tiny(*SHORT, "pretrain.steps=1", *TOO_FAST), tmp_path, quiet)


def test_bf16_needs_no_gpu(tiny, tmp_path, quiet):
    whole, half = (
        command.pretrain(tiny(*SHORT, f"pretrain.bf16={bf16}"), tmp_path / bf16, quiet) for bf16 in ("false", "true")
    )
    assert whole.result["loss"] != half.result["loss"] == pytest.approx(whole.result["loss"], rel=0.01)


def test_labels_beside_masks_leave_a_plain_checkpoint_that_tells_classes_apart(
    labelled, tiny, tiny_problem, tmp_path, quiet
):
    done, said = labelled
    count, before = len(tiny_problem.labelled("train")), tiny_problem.fresh_model(0)
    assert f"labels  16 of {count} labelled examples of train in every step; the loss that is shown is of both" in said
    assert weights(done.folder).keys() == before.mlm.state_dict().keys()
    card = (done.folder / "README.md").read_text()
    assert f"and on 16 of {count} labelled examples of train in every step" in card and "- labels: 16" in card
    without = command.pretrain(tiny(*SHORT), tmp_path / "without", quiet)
    assert done.result["loss"] > without.result["loss"] and "labels" not in without.result
    examples = tiny_problem.examples("train")

    def apart(folder):
        """Of the classes' means, in variances of an example."""
        model = tiny_problem.fresh_model(0)
        model.mlm.load_state_dict(weights(folder))
        x = examples.outputs(model, range(count), tiny_problem.pad_id).detach()
        return (torch.stack([x[examples.y == c].mean(0) for c in (0, 1)]).var(0).sum() / x.var(0).sum()).item()

    assert apart(done.folder) > apart(without.folder)


def test_a_training_beside_labels_goes_on_to_the_same_bits_and_knows_its_labels(
    labelled, tiny, tmp_path, quiet, interrupted
):
    config, out = tiny(*LABELS), tmp_path / "model"

    with interrupted(), pytest.raises(KeyboardInterrupt):
        command.pretrain(config, out, quiet)
    command.pretrain(config, out, quiet)
    once, twice = weights(labelled[0].folder), weights(out)
    assert all(torch.equal(once[name], twice[name]) for name in once)
    for other in ("planted.seed=9", "pretrain.labels=8", "pretrain.labels=0"):
        with pytest.raises(ValueError, match=r"holds a pretraining with other settings \(.*label"):
            command.pretrain(tiny(*LABELS, other), out, quiet)


@pytest.mark.long
def test_labels_beside_masks_in_parts_and_on_two_processes(labelled, tiny_toml, on_two_processes, tmp_path):
    """In parts of their steps, too."""
    settings = [*LABELS, "pretrain.micro_batch=2"]
    on_two_processes("pretrain", str(tiny_toml), *settings, "--out", "model")
    whole, parts = weights(labelled[0].folder), weights(tmp_path / "model")
    for name in whole:
        assert torch.allclose(whole[name], parts[name], atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "processes", "said"),
    [
        (17, 4, "rows  17 in every epoch, and 3 of its first again: 4 go to all processes at once"),
        (17, 1, ""),
        (16, 4, ""),
        (200, 4, ""),
    ],
)
def test_rows_that_several_processes_see_again_are_told(rows, processes, said):
    sizes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "max_steps": 10}
    assert filled_up(SimpleNamespace(**sizes, world_size=processes), rows) == said


def test_labels_that_no_step_can_see_are_refused(tiny, tmp_path, quiet, monkeypatch):
    problem = SimpleNamespace(config=tiny(*LABELS), kind=SimpleNamespace(name="questions", readout=None))
    with pytest.raises(ValueError, match=r"pretrain: mlm_weight is beside the loss of labels.*: set labels"):
        tiny(*SHORT, "pretrain.mlm_weight=0.5")
    with pytest.raises(ValueError, match=r"pretrain\.labels trains a head, and questions have none: set it to 0"):
        check_labels(problem)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"a process for each GPU, and one has 2: start it by torchrun --nproc-per-node 2"
    ):
        check_labels(problem_of(tiny(*LABELS)))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match=r"pretrain\.labels 16 cannot be dealt out evenly to 3 processes: set it to a"):
        check_labels(problem_of(tiny(*LABELS)))
    monkeypatch.undo()
    (tmp_path / "texts.txt").write_text("class0_01 generic_003\n" * 9)
    own = f"domain.path='{tmp_path / 'texts.txt'}'"
    with pytest.raises(ValueError, match=r"would be those of task\.path planted, beside domain\.path .*texts\.txt"):
        command.pretrain(tiny(*LABELS, own), tmp_path / "model", quiet)


def test_settings_that_cannot_be_are_refused(tiny, finished, tmp_path, quiet):
    with pytest.raises(ValueError, match="batch_size 32 cannot be dealt out evenly to 3 GPUs"):
        shares(PretrainConfig(), 3)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no pretraining: choose another --out"):
        command.pretrain(tiny(*SHORT), tmp_path, quiet)
    with pytest.raises(ValueError, match=r"rate 0\.95 must be below p_max"):
        command.pretrain(tiny(*SHORT, "pretrain.rate=0.95"), tmp_path / "model", quiet, str(finished))


@pytest.mark.long
def test_two_processes_know_that_a_training_is_finished(trained, tiny_toml, finished, on_two_processes, tmp_path):
    shutil.copytree(trained[0].folder, tmp_path / "model")
    said = on_two_processes("pretrain", str(tiny_toml), *SHORT, "--policy", str(finished), "--out", "model")
    assert said.count("model is finished; --fresh starts over") == said.count("model  model  (6 steps") == 1
