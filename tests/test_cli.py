"""The command line as a user meets it: what works, and that every mistake is one message and not a traceback."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from policylearn import cli
from policylearn.artefact import load_policy
from policylearn.data.planted import domain_corpus, general_corpus, planted_task, planted_tokenizer
from policylearn.report.formats import plural
from policylearn.runs.state import load_round
from policylearn.runs.stop import INTERRUPTED

ARMS = ["random", "Difference-Masking", "learned", "oracle"]
SHORT = ("learn.rounds=1", "learn.rollouts=1", "evaluate.seeds=0")
ONE_SEED = "evaluate.seeds=1"


@pytest.fixture
def refuses(policylearn):
    """`refuses("train", …)`: the message of a call that must fail with one."""

    def call(*arguments) -> str:
        status, out, err = policylearn(*arguments)
        assert status == 2, out + err
        assert err.startswith("error"), err
        assert "Traceback" not in out + err
        assert len(err) < 1000
        return err.removeprefix("error").strip()

    return call


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def files(tiny_toml, tiny, tmp_path) -> tuple:
    """The tiny benchmark as files: the arguments that name them. Spoil a file and see."""
    config, folder = tiny().planted, tmp_path / "files"
    folder.mkdir()
    for name, split in planted_task(config).splits.items():
        rows = zip(split.texts, split.labels, strict=True)
        write_lines(folder / f"{name}.jsonl", [{"text": text, "label": label} for text, label in rows])
    for name, texts in (("domain", domain_corpus(config)), ("general", general_corpus(config))):
        write_lines(folder / f"{name}_corpus.jsonl", [{"text": text} for text in texts])
    planted_tokenizer(config).save_pretrained(folder / "tokenizer")
    corpora = (f"{name}.path={folder}/{name}_corpus.jsonl" for name in ("domain", "general"))
    settings = (tiny_toml, f"model.tokenizer={folder}/tokenizer", f"task.path={folder}", *corpora)
    return (*settings, 'evaluate.arms=["random"]', *SHORT, "--out", tmp_path / "run")


# what works


def test_training_on_files(policylearn, files, tmp_path):
    status, out, err = policylearn("train", *files)
    assert (status, err) == (0, "")
    assert f"{tmp_path}/run/report.html" in out
    assert load_policy(tmp_path / "run" / "policy").provenance["task"] == "files"


def test_a_finished_run_says_so_and_shows_its_comparison(policylearn, finished, tiny_toml):
    status, out, _ = policylearn("train", tiny_toml, "--out", finished)
    assert status == 0
    assert f"{finished} is finished; --fresh starts over." in out
    assert re.findall(r"^(random|Difference-Masking|learned|oracle)\b", out, re.MULTILINE) == ARMS
    assert f"{finished}/policy" in out


def test_score_lists_the_highest_words_and_the_anchors(policylearn, tiny_toml):
    status, out, _ = policylearn("score", tiny_toml, "--scorer", "oracle", "--top", 8)
    assert status == 0
    assert len(set(re.findall(r"class[01]_\d\d", out))) == 8
    status, out, _ = policylearn("score", tiny_toml)
    assert status == 0
    anchors = re.search(r"anchors: (.*)", out)[1].split(", ")
    assert len(anchors) > 4
    assert not [word for word in anchors if not word.startswith(("class", "distractor"))]


def test_inspect_shows_a_text_under_both_policies_where_they_differ(policylearn, finished, differing):
    text = "class0_01 generic_003 distractor_02"
    status, out, _ = policylearn("inspect", finished / "prior", text)
    assert status == 0
    assert all(out.count(word) == 1 for word in text.split())
    assert "class0_01" in out.splitlines()[0]  # of one policy, and no heading
    status, out, _ = policylearn("inspect", differing, text)
    assert status == 0
    assert all(out.count(word) == 2 for word in text.split())
    assert [line for line in out.splitlines() if line in ("prior", "learned")] == ["prior", "learned"]


def test_export_copies_the_policy(policylearn, finished, tmp_path):
    status, out, _ = policylearn("export", finished, "--out", tmp_path / "copy")
    assert status == 0
    assert str(tmp_path / "copy") in out
    copy, original = load_policy(tmp_path / "copy"), load_policy(finished / "policy")
    assert all(torch.equal(v, original.policy.state_dict()[n]) for n, v in copy.policy.state_dict().items())


def test_export_of_a_round_has_the_phi_of_that_round(policylearn, refuses, finished, tmp_path):
    assert policylearn("export", finished, "--out", tmp_path / "second", "--round", 2)[0] == 0
    phi = load_policy(tmp_path / "second").policy.learned()["network.logits"]
    assert torch.equal(phi, load_round(finished / "checkpoints", 2).tensors["phi.network.logits"])
    assert "keeps no checkpoint of round 9" in refuses("export", finished, "--out", tmp_path / "ninth", "--round", 9)


def test_evaluate_compares_an_exported_policy(policylearn, finished, tiny_toml, tmp_path):
    settings = (tiny_toml, "evaluate.seeds=1", 'evaluate.arms=["random"]', "--out", tmp_path / "out")
    status, out, _ = policylearn("evaluate", *settings, "--policy", f"learned={finished / 'policy'}")
    assert status == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert list(result["arms"]) == ["random", "learned"]
    assert "learned" in out
    assert f"{tmp_path}/out/result.json" in out


def test_settings_without_a_file_change_the_embedded_default(policylearn, tmp_path):
    status, out, _ = policylearn("score", "planted.documents=50", "planted.class_words=3", "--scorer", "oracle")
    assert status == 0
    assert "class1_02" in out
    assert "class1_03" not in out


@pytest.mark.parametrize("command", ["train", "evaluate", "adapt", "score", "inspect", "export"])
def test_every_command_explains_itself(policylearn, command):
    status, out, _ = policylearn(command, "--help")
    assert status == 0
    assert "Usage" in out


def test_help_lists_the_commands_in_the_order_in_which_they_are_met():
    order = "train pretrain evaluate score diagnose adapt reproduce inspect export average settings"
    assert list(typer.main.get_command(cli.app).commands) == order.split()


# bad input


def test_an_address_where_a_file_is_written_is_refused(refuses, tiny_toml):
    for command in ("score", "diagnose", "adapt"):
        assert "goes to this machine" in refuses(command, tiny_toml, "--out", "s3://bucket/x")


def test_an_unknown_key(refuses, tiny_toml, tmp_path):
    message = refuses("train", tiny_toml, "inner.stepz=3", "--out", tmp_path / "run")
    assert message == "override inner.stepz=3: unknown key 'inner.stepz'; did you mean 'inner.steps'?"


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_config_whose_path_looks_like_an_override(refuses, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=0.1").mkdir()
    (tmp_path / "lr=0.1" / "c.toml").write_text("inner.stepz = 3", encoding="utf-8")
    assert refuses(command, "lr=0.1/c.toml").startswith("lr=0.1/c.toml: unknown key 'inner.stepz'")


def test_a_config_that_does_not_exist(refuses, tmp_path):
    assert "config file none.toml does not exist" in refuses("train", "none.toml", "--out", tmp_path / "run")


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_an_empty_split(refuses, files, tmp_path, split):
    (tmp_path / "files" / f"{split}.jsonl").write_text("")
    assert f"task.path {tmp_path}/files: split '{split}' is empty" in refuses("train", *files)


def test_a_missing_split(refuses, files, tmp_path):
    (tmp_path / "files" / "dev.jsonl").unlink()
    said = refuses("train", *files)
    assert f"{tmp_path}/files has no split dev, and 60 rows are too few to carve a split 'dev' off them" in said
    (tmp_path / "files" / "train.jsonl").unlink()
    assert f"{tmp_path}/files has no split 'train'; a folder may have it as train with" in refuses("train", *files)


@pytest.mark.parametrize("which", ["domain", "general"])
@pytest.mark.parametrize("text", ["", '{"text": ""}\n{"text": "  "}\n'], ids=["no lines", "blank texts"])
def test_an_empty_corpus(refuses, files, tmp_path, which, text):
    (tmp_path / "files" / f"{which}_corpus.jsonl").write_text(text)
    message = refuses("train", *files)
    assert f"{which}.path" in message
    assert "empty" in message or "holds no" in message


def test_a_label_outside_the_label_set(refuses, files, tmp_path):
    path = tmp_path / "files" / "dev.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["label"] = "class7"
    write_lines(path, rows)
    message = refuses("train", *files)
    assert (
        f"{tmp_path}/files: split 'dev', row 3: label 'class7' is not in the label set ['class0', 'class1']" in message
    )
    assert "'class1' is not in the label set ['class0']" in refuses("train", *files, "task.labels=['class0']")


@pytest.mark.parametrize("setting", ["task.text=sentence", "domain.text=sentence", "general.text=sentence"])
def test_a_text_column_that_is_not_there(refuses, files, setting):
    message = refuses("train", *files, setting)
    assert setting.partition(".")[0] + ".path" in message
    assert "row 0: no column 'sentence'; it has [" in message
    assert "'text'" in message


def test_a_label_column_that_is_not_there(refuses, files):
    assert "no column 'y'; it has ['label', 'text']" in refuses("train", *files, "task.label=y")


def test_a_line_that_is_not_json(refuses, files, tmp_path):
    with (tmp_path / "files" / "train.jsonl").open("a") as lines:
        lines.write("{oops\n")
    assert "train.jsonl, line 61 is not JSON" in refuses("train", *files)


def test_a_tokenizer_without_mask_token(refuses, files, tmp_path):
    """As of GPT-2: an end-of-text token and nothing else special."""
    words = {word: i for i, word in enumerate(["<|endoftext|>", "class0_00", "class1_00"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path / "gpt")
    message = refuses("train", *files, f"model.tokenizer={tmp_path}/gpt")
    assert message.startswith(f"tokenizer '{tmp_path}/gpt' has no mask_token")


def test_a_model_path_that_does_not_exist(refuses, files, tmp_path):
    assert refuses("train", *files, "model.name=../no/such/model").startswith("model.name '../no/such/model' does not")
    message = refuses("train", *files, f"model.tokenizer={tmp_path}/none")
    assert message.startswith(f"model.tokenizer '{tmp_path}/none' does not exist")


def test_a_folder_that_is_no_model(refuses, files, tmp_path):
    message = refuses("train", *files, f"model.name={tmp_path}")
    assert message.startswith(f"model.name '{tmp_path}' cannot be loaded as a masked language model")


def test_files_need_a_tokenizer(refuses, files):
    assert "needs model.tokenizer" in refuses("train", *(f for f in files if not str(f).startswith("model.tokenizer")))


def test_a_corpus_file_that_does_not_exist(refuses, files):
    said = refuses("train", *files, "domain.path=./none.jsonl")
    assert said.startswith(f"domain.path ./none.jsonl does not exist in the current folder, {Path.cwd()} (nor, ")
    pipe = "is no file but a device or pipe, which cannot be read again: write to a file what it gives"
    assert refuses("train", *files, "domain.path=/dev/null") == f"domain.path /dev/null {pipe}"
    assert refuses("train", "/dev/null") == f"config file /dev/null {pipe}"


def test_an_unknown_scorer(refuses, tiny_toml, tmp_path):
    assert "unknown scorer 'bert'; known: ['amlm'" in refuses("score", tiny_toml, "--scorer", "bert")
    assert "unknown scorer 'bert'" in refuses("train", tiny_toml, "policy.prior={bert=1.0}", "--out", tmp_path / "run")


def test_policies_that_are_none(refuses, tiny_toml, tmp_path):
    assert "has no manifest.json" in refuses("inspect", tmp_path, "text")
    assert f"{tmp_path}/none' does not exist" in refuses("inspect", tmp_path / "none", "text")
    assert "has no manifest.json" in refuses("export", tmp_path, "--out", tmp_path / "copy")
    message = refuses("evaluate", tiny_toml, "--policy", "policies/mine", "--out", tmp_path / "out")
    assert message == "--policy 'policies/mine' is not of the form arm=folder"
    assert "is not of the form" in refuses(
        "evaluate", tiny_toml, "--policy", "=policies/mine", "--out", tmp_path / "out"
    )


WRITERS = ("train", "evaluate", "pretrain", "adapt", "score", "export", "average", "study")
"""Commands that write a folder, and a study."""


@pytest.fixture
def writes(tiny_toml, saved_policy, tmp_path) -> dict[str, tuple]:
    """Their arguments but for --out."""
    study = f'name = "s"\narms = ["random"]\nseeds = 1\n[tasks.one]\nconfig = "{tiny_toml}"\n'
    (tmp_path / "study.toml").write_text(study)
    policies = ("average", f"a={saved_policy}", f"b={saved_policy}")
    others = {"export": ("export", saved_policy), "average": policies, "study": ("evaluate", tmp_path / "study.toml")}
    return {name: (name, tiny_toml) for name in WRITERS if name not in others} | others


@pytest.mark.parametrize("command", WRITERS)
def test_what_is_to_be_a_folder_and_cannot_be_one(refuses, writes, tmp_path, command, monkeypatch):
    """Which is told before anything is computed, by all commands alike."""
    for work in ("problems.problem.Problem.__init__", "commands.export.open_policy", "commands.average.average"):
        monkeypatch.setattr(f"policylearn.{work}", None)
    file = tmp_path / "file"
    file.touch()
    assert refuses(*writes[command], "--out", file) == f"{file} is a file: name a folder"
    assert refuses(*writes[command], "--out", file / "x") == f"{file}/x cannot be written: {file} is a file"
    assert refuses(*writes[command], "--out", "").startswith("the name of a folder is empty: give a path")


@pytest.mark.parametrize("command", [("inspect", "POLICY", "generic_003", "--html"), ("diagnose", "CONFIG", "--out")])
def test_what_is_to_be_a_file_and_cannot_be_one(refuses, tiny_toml, saved_policy, tmp_path, command, monkeypatch):
    """Which is told before anything is computed."""
    monkeypatch.setattr("policylearn.commands.diagnose.diagnose", None)
    given = [{"POLICY": saved_policy, "CONFIG": tiny_toml}.get(word, word) for word in command]
    (tmp_path / "there").mkdir()
    (tmp_path / "file").touch()
    assert refuses(*given, tmp_path / "there") == f"{tmp_path}/there is a folder: name a file in it"
    assert refuses(*given, tmp_path / "file" / "x") == f"{tmp_path}/file/x cannot be written: {tmp_path}/file is a file"


def test_a_seed_of_more_bits_than_there_are(refuses, tiny_toml):
    assert "less than or equal to 1000000000000" in refuses("train", tiny_toml, f"learn.seed={2**70}")


@pytest.mark.parametrize("engine", ["unroll", "one_step"])
def test_an_inner_loss_that_is_not_a_number(policylearn, tiny_toml, tmp_path, engine):
    settings = (tiny_toml, "inner.learning_rate=1e30", f"inner.engine={engine}", *SHORT)
    status, out, err = policylearn("train", *settings, "--out", tmp_path / "run")
    assert status == 1
    assert "Traceback" not in out + err
    said = " ".join(err.split())
    assert "baseline_rollout(1000000" in said  # the seed
    assert "failed: the inner loss became nan: lower inner.learning_rate" in said
    assert f"stopped; {tmp_path}/run keeps nothing that was finished." in said


def test_a_failure_in_a_later_round_keeps_the_earlier_ones(policylearn, tiny_toml, tmp_path, monkeypatch):
    from policylearn.learning.rollout import rollout

    def sometimes(problem, policy, seed, differentiate=True):
        if seed == 1_000_003:  # of round 2
            raise FloatingPointError("the inner MLM loss became nan")
        return rollout(problem, policy, seed, differentiate)

    settings = (tiny_toml, "evaluate.seeds=0", "learn.max_dropped=0", "--out", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("policylearn.learning.rounds.rollout", sometimes)
        status, _, err = policylearn("train", *settings)
    assert status == 1
    assert "keeps 1 finished round. Continue with the same command" in " ".join(err.split())
    assert policylearn("train", *settings)[0] == 0
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3


@pytest.fixture
def stopped_at(policylearn, tiny_toml, tmp_path, monkeypatch):
    """`stopped_at(place, command, …)`: what a call says that is interrupted in a function of this name."""

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    def call(place: str, command: str, *options) -> str:
        with monkeypatch.context() as patched:
            patched.setattr(place, stop)
            status, _, err = policylearn(command, tiny_toml, *SHORT, *options, "--out", f"{tmp_path}/./run/")
        assert status == INTERRUPTED, err
        return " ".join(err.split())

    return call


BEGUN = {
    "train": "policylearn.learning.rounds.collect",
    "pretrain": "policylearn.commands.pretrain._train",
    "evaluate": "policylearn.evaluation.compare.compare",
}
"""Where learning, training or trials have just begun."""


@pytest.mark.parametrize("command", BEGUN)
def test_what_was_begun_with_fresh_goes_on_without(stopped_at, command):
    for fresh, said in ((("--fresh",), "the same command, without --fresh, and"), ((), "the same command and")):
        assert f"Continue with {said} the same --out." in stopped_at(BEGUN[command], command, ONE_SEED, *fresh)


@pytest.mark.parametrize("command", BEGUN)
def test_what_was_stopped_before_it_began_is_begun_with_fresh_again(stopped_at, tmp_path, command):
    stopped_at(BEGUN[command], command, ONE_SEED)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for fresh, said in ((("--fresh",), "stopped before anything was begun anew; "), ((), "stopped; ")):
        told = stopped_at("policylearn.problems.problem.Problem.__init__", command, ONE_SEED, *fresh)
        assert told.startswith(said) and told.endswith("Continue with the same command and the same --out.")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def hear_interrupts() -> None:
    """Whoever runs the tests in the background of a shell has been made deaf to them, and so have all below."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_in_the_middle_keeps_what_is_done_and_says_how_to_go_on(tiny_toml, tmp_path, policylearn):
    """As a terminal does it: the interrupt goes to every process of the group, Ray's among them."""
    out = tmp_path / "run"
    arguments = ["train", str(tiny_toml), "learn.rounds=10", "evaluate.seeds=0", "--out", str(out)]
    command = [sys.executable, "-c", "from policylearn.cli import main; main()", *arguments]
    process = subprocess.Popen(
        [*command, "cluster.backend=ray"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_interrupts,
    )
    metrics, deadline = out / "metrics.jsonl", time.monotonic() + 120
    while not metrics.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said + complained
    assert "Traceback" not in said + complained
    kept = metrics.read_text(encoding="utf-8").splitlines()
    assert 1 <= len(kept) < 10
    assert f"stopped; {out} keeps {plural(len(kept), 'finished round')}. Continue with the same command" in " ".join(
        complained.split()
    )
    assert not (out / "result.json").exists()
    status, _, _ = policylearn(*arguments)
    assert status == 0
    lines = metrics.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 10
    assert lines[: len(kept)] == kept
    assert (out / "result.json").is_file()


def test_no_message_is_longer_than_a_screen(policylearn):
    status, _, said = policylearn("train", f"task.metric={'x' * 400_000}")
    assert status == 2 and len(said) < 1700 and said.startswith("error  ") and " … " in said


@pytest.mark.parametrize(
    ("redirected", "status", "said"), [(">&-", 0, ""), (">/dev/full", 1, "No space left on device")]
)
def test_output_that_cannot_be_written_is_one_line(redirected, status, said):
    command = f"{sys.executable} -m policylearn settings masking {redirected}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, bool(said)) and said in done.stderr


def test_a_run_whose_output_nobody_reads_says_what_it_keeps(tiny_toml, tmp_path):
    command = f"{sys.executable} -m policylearn train {tiny_toml} --out {tmp_path / 'run'} > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"stopped; {tmp_path / 'run'} keeps " in done.stderr and "No space left on device" in done.stderr


@pytest.mark.parametrize("more", [["learn"], ["--markdown"]])
def test_settings_are_shown_on_a_terminal_that_has_not_all_their_signs(more):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "policylearn", "settings", *more], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and "learn.stages" in done.stdout, done.stderr
