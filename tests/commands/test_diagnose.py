import io
import json
import re

import pytest
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from policylearn.arms.policies import build_uniform
from policylearn.cli import app
from policylearn.commands.diagnose import diagnose, ends, trained_under
from policylearn.credit.along import steps
from policylearn.credit.analysis import MADE_UP, outlook, verdict
from policylearn.credit.credits import masked_texts, take
from policylearn.credit.halves import text_halves
from policylearn.credit.reliability import check_amount
from policylearn.credit.words import keys_of
from policylearn.inner.seeds import MASK_SEED
from policylearn.problems.of_config import problem_of
from policylearn.report.signal import signal_report

QUICK = ("credit.points=2", "credit.batches=3", "diagnose.shuffles=1", "diagnose.least=2", "diagnose.draws=50")


@pytest.fixture(scope="module")
def problem(tiny):
    return problem_of(tiny(*QUICK))


def test_too_few_batches_are_refused_before_anything_is_trained(tiny, quiet, monkeypatch):
    monkeypatch.setattr("policylearn.commands.diagnose.measure", None)
    with pytest.raises(ValueError, match=r"masked 999 times .* raise credit\.batches or lower diagnose\.least"):
        diagnose(tiny(*QUICK, "diagnose.least=999"), quiet)


def test_where_whole_texts_are_words_more_batches_are_no_advice(tiny, tmp_path, quiet):
    """Of a tokenizer to which only a blank begins a word, and texts that have none."""
    letters = "▁abcdefghijklmnopqrstuvwxyz_0123456789"
    backend = Tokenizer(models.Unigram([("<unk>", 0.0), *((c, -1.0) for c in letters)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    roles = {"unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    PreTrainedTokenizerFast(tokenizer_object=backend, **roles).save_pretrained(tmp_path)
    (tmp_path / "domain.txt").write_text("\n".join(f"class0_{i}_generic_{i}_others" for i in range(200)))
    given = (
        f"domain.path={tmp_path / 'domain.txt'}",
        f"model.tokenizer={tmp_path}",
        "model.max_length=64",
        "policy.prior={}",
    )
    with pytest.raises(ValueError, match=r"100% of what is masked are in words of more than 16 tokens: .* put blanks"):
        diagnose(tiny(*QUICK, *given), quiet)


@pytest.mark.long
def test_what_is_counted_before_is_what_is_measured(tiny, problem, result):
    counts = [
        sum(len(keys_of(policy, batch)) for number in range(2) for batch in taken(problem, policy, rows, number))
        for policy in [build_uniform(problem)]
        for rows in text_halves(problem, 0)
    ]
    assert counts == result["tokens"]
    least = max(n for n in range(1, 60) if passes(problem_of(tiny(*QUICK, f"diagnose.least={n}"))))
    assert 2 < least < 59


def taken(problem, policy, rows, number):
    return take(masked_texts(problem, policy, rows, MASK_SEED + number), problem.config.credit.batches)


def passes(problem) -> bool:
    try:
        check_amount(problem, build_uniform(problem))
    except ValueError:
        return False
    return True


def test_one_text_has_no_halves(tiny, quiet, tmp_path):
    (tmp_path / "one.txt").write_text("class0_01 generic_001 generic_002")
    with pytest.raises(ValueError, match=r"domain\.path: 1 texts, too few for two halves"):
        diagnose(tiny(*QUICK, f"domain.path={tmp_path / 'one.txt'}", "policy.prior={}"), quiet)


def test_uneven_halves_are_told_of(tiny, tmp_path):
    """A hundred texts of the same words are in one half, wherever they stand."""
    others = [f"generic_00{i} generic_01{j} class0_01" for i in range(6) for j in range(2)]
    texts = [*others, *["generic_002 generic_001 class0_01"] * 100, *(text + " class0_02" for text in others)]
    (tmp_path / "same.txt").write_text("\n".join(texts))
    told = []
    passes(problem_of(tiny(*QUICK, f"domain.path={tmp_path / 'same.txt'}", "policy.prior={}"), tell=told.append))
    assert [line for line in told if "halves of" in line] == [
        "domain  halves of 112 and 12, for texts of the same content stay together: credits of the two agree the less"
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 31])
def test_no_word_both_helps_and_hurts(count):
    names = [f"w{i}" for i in range(count)]
    found = ends(names, 15)
    assert not set(found["help"]) & set(found["hurt"])
    assert len(found["help"]) + len(found["hurt"]) == min(count, 30)
    assert found["help"] == names[: len(found["help"])] and found["hurt"] == names[::-1][: len(found["hurt"])]


def test_where_credit_is_learned_or_the_prior_the_training_is_the_one_that_it_is_measured_on(tiny, problem):
    for credited in ("policy.prior={credit = 2.0}", "learn.stages=[expected]"):
        policy, under = trained_under(problem_of(tiny(*QUICK, credited)))
        assert under == "uniform masks" and policy.names == []
    policy, under = trained_under(problem)
    assert under == "masks of the prior (difference)" and policy.names == ["difference"]


@pytest.fixture(scope="module")
def result(problem, tmp_path_factory):

    return diagnose(problem.config, Console(file=io.StringIO()))


def test_a_diagnosis_is_plain_json_and_complete(result, problem):
    assert json.loads(json.dumps(result)).keys() == result.keys()
    assert result["steps"] == steps(problem.config) == [3, 7]
    assert result["examples"] == 60 and result["batches"] == 12
    assert sum(result["shares"].values()) == pytest.approx(1, abs=0.3)  # what is negative is cut
    assert result["interval"][0] <= result["reliability"] <= result["interval"][1]
    assert set(result["controls"]) == {"shuffled 1", MADE_UP}
    assert {"raw", "preconditioned"} == result["cosines"].keys()
    assert result["words"]["help"] and set(result["words"]["help"]) <= set(problem.tokenizer.get_vocab())


def test_a_diagnosis_is_a_function_of_its_config(result, problem, quiet):
    again = diagnose(problem.config, quiet)
    same = [key for key in result if key not in ("seconds", "cpu_seconds")]
    assert {key: again[key] for key in same} == {key: result[key] for key in same}
    kind, rows = quiet.file.getvalue().splitlines()  # nothing in it takes five seconds
    assert kind == "task  classification" and rows.startswith("task ")


def test_the_report_shows_what_was_found(result, quiet):
    quiet.print(signal_report(result), highlight=False)
    shown = quiet.file.getvalue()
    assert shown.startswith(result["verdict"][:60])
    for text in ("word types", "shuffled 1", "labelled examples", "MLM batches for .5", "preconditioned", "help"):
        assert text in shown


@pytest.mark.parametrize("trainings, said", [(1, "along a training under"), (4, "along each of 4 trainings under")])
def test_the_report_says_of_how_many_trainings_it_is(result, trainings, said):
    console = Console(file=io.StringIO(), width=400)
    console.print(signal_report(result | {"trainings": trainings}))
    assert said in console.file.getvalue()


@pytest.mark.parametrize(
    ("low", "shown", "hidden"),
    [
        (
            0.1,
            ["twice the labels", "with as many MLM batches as here"],
            ["nothing can be foretold", "unknown", "Not yet"],
        ),
        (
            -0.1,
            [
                "nothing can be foretold",
                "examples for .5 unknown",
                "Not yet: halves of the data hardly agree",
            ],
            ["twice the labels", "as many MLM batches", "To go on"],
        ),
    ],
)
def test_what_is_foretold_is_shown_where_halves_agree(result, quiet, low, shown, hidden):
    assert result["forecast"].keys() == {"loss", "labels", "text", "steps", "advantage", "halves"}
    made = result | {"interval": [low, 0.5], "reliability": 0.4, "half": 0.3, "net": 0.3}
    quiet.print(signal_report(made | {"outlook": outlook(made)}), highlight=False)
    said = " ".join(quiet.file.getvalue().split())
    assert all(line in said for line in shown) and not any(line in said for line in hidden)


def test_no_forecast_is_of_more_than_there_is(result, quiet):
    assert 0 < result["outer_loss"] < 1  # of two classes it is about log 2
    found = dict.fromkeys(("loss", "labels", "text", "steps"), 0.1) | {"steps": 9.0}
    made = result | {"forecast": result["forecast"] | found, "interval": [0.1, 0.5], "outer_loss": 0.5}
    for change in ({}, {"loss": 8.0}):
        quiet.print(signal_report(made | {"forecast": made["forecast"] | change}), highlight=False)
    said = " ".join(quiet.file.getvalue().split())
    assert said.count("out of range") == 3 and said.count("by more than the .500 that it is") == 1


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (0.2, "the outer loss, .500 now, by .200 more than random masks do; from a checkpoint about a quarter"),
        (0.9, "It may help, by how much cannot be said: steps so large are not linear. To go on: policylearn train"),
        (-0.1, "Hardly: halves of the data agree, but masks by these credits are not foretold"),
    ],
)
def test_the_report_ends_in_whether_it_will_help(result, quiet, loss, said):
    forecast = {"loss": loss, "labels": loss + 0.02, "text": loss + 0.1, "steps": 2 * loss, "advantage": 0.1}
    made = result | {"forecast": result["forecast"] | forecast, "interval": [0.1, 0.5], "outer_loss": 0.5}
    made |= {"reliability": 0.4, "half": 0.3, "net": 0.3}
    quiet.print(signal_report(made | {"outlook": outlook(made)}), highlight=False)
    shown = " ".join(quiet.file.getvalue().split())
    assert said in shown
    assert ("Twice the text would add .100 to that, twice the labels .020." in shown) == (0 < loss < 0.5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reliability": 0.05}, "Not yet: halves of the data hardly agree"),
        ({"net": 0.1}, "Not yet: most of what halves of the data agree on, shuffled labels explain"),
    ],
)
def test_what_it_ends_in_is_what_the_verdict_says(result, change, said):
    made = result | {"interval": [0.1, 0.5], "reliability": 0.4, "half": 0.3, "net": 0.3} | change
    assert verdict(made).startswith("the signal is no") and outlook(made).startswith(said)
    assert outlook(made).endswith("'learn.stages=[outcomes,strength]' and policy.network=table.")


@pytest.mark.parametrize(("shares", "mend"), [((0.6, 0.1), "Label more examples"), ((0.1, 0.6), "Credit more text")])
def test_where_halves_do_not_agree_more_is_asked_for_of_what_they_differ_by(result, shares, mend):
    found = result["shares"] | dict(zip(("label", "text"), shares, strict=True))
    assert f"follow noise. {mend}" in outlook(result | {"interval": [-0.1, 0.5], "shares": found})


def test_diagnose_on_the_command_line(tiny_toml, tmp_path):
    out = tmp_path / "deep" / "signal.json"
    done = CliRunner().invoke(app, ["diagnose", str(tiny_toml), *QUICK, "--out", str(out)])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert re.search(r"word types +[−.\d]+", done.output) and found["name"] == "tiny"
