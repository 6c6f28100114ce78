"""score, train, evaluate and inspect on folders of pictures, as a stranger calls them."""

import io
import json
import re
from shutil import copytree

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from policylearn.arms.arms import check_fits
from policylearn.artefact import PolicyArtefact, load_policy
from policylearn.artefact.manifest import digest
from policylearn.collator.patch_collator import PatchCollator
from policylearn.commands.inspect import read_places, show_pictures
from policylearn.commands.present import samples, word_rows
from policylearn.commands.train import train
from policylearn.config import MaskingConfig, load_config
from policylearn.masking.grid import Grid
from policylearn.masking.patches import PatchField
from policylearn.policy.patches import patch_policy
from policylearn.policy.scores import Scores
from policylearn.problems.of_config import problem_of
from policylearn.report.pictures import drawn_pictures

CONFIG = """
patches = {{ words = 12, zones = 2 }}
masking = {{ rate = 0.6, p_max = 0.95 }}
policy = {{ prior = {{}}, network = "none" }}
task.path = "{folder}"
domain.path = "{folder}/domain"
general.path = "{folder}/general"
scores.difference = {{ anchor_ratio = 1.2 }}
inner = {{ steps = 6, batch_size = 16 }}
credit = {{ batches = 1, points = 2, resplits = 1 }}
learn.stages = ["expected"]
evaluate = {{ arms = ["random", "block", "difference", "learned"], seeds = 2, downstream = ["probe"] }}
cluster.backend = "local"

[model.architecture]
model_type = "vit_mae"
image_size = 8
patch_size = 2
num_channels = 1
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 16
decoder_hidden_size = 16
decoder_num_hidden_layers = 1
decoder_num_attention_heads = 2
decoder_intermediate_size = 16
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Digits as files: train, dev and test with a folder per class, domain and general without."""
    place, found = tmp_path_factory.mktemp("digits"), load_digits()
    x, y = (found.images * 15.9375).astype(np.uint8), found.target
    own = np.flatnonzero(y < 3)
    parts = {"train": own[:40], "dev": own[40:80], "test": own[80:120], "domain": own[120:200]}
    for name, rows in (parts | {"general": np.flatnonzero(y >= 3)[:80]}).items():
        for row in rows:
            inside = place / name / str(y[row]) if name in ("train", "dev", "test") else place / name
            inside.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x[row]).save(inside / f"{row:04}.png")
    (place / "digits.toml").write_text(CONFIG.format(folder=place), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run of `train`."""
    out = tmp_path_factory.mktemp("run") / "digits"
    train(load_config(str(folder / "digits.toml"), []), out, Console(quiet=True))
    return out


def test_train_learns_compares_and_reports(run):
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert set(result["arms"]) == {"random", "block", "difference", "learned"} and result["learned"]
    assert len({tuple(arm["masked_tokens"]) for arm in result["arms"].values()}) == 1
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 8 and "PatchCollator(model" in page
    assert "the warmer a patch" in page.lower() and "word 3 in 1.2" in page
    card = (run / "policy" / "README.md").read_text(encoding="utf-8")
    assert "PatchCollator(model, load_policy(" in card and "Which patches to hide" in card
    assert "masked-image-modeling" in card and "fill-mask" not in card


def test_the_artefact_says_that_it_is_of_patches_and_gives_the_same_masks(run, folder):
    manifest = json.loads((run / "policy" / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["format"], manifest["of"]) == (3, "patches") and "tokenizer/tokenizer.json" not in manifest[
        "files"
    ]
    artefact = load_policy(run)
    problem = problem_of(load_config(str(folder / "digits.toml"), []))
    x, real = problem.domain.batch(range(8))
    assert artefact.tokenizer is None and torch.equal(
        artefact.policy.field.types(x), problem.field(problem.config.masking).types(x)
    )
    p = artefact.policy.probabilities(x, real)
    assert p.std() > 0.01
    model = problem.fresh_model(0).mlm
    model.config.mask_ratio = 0.6
    collator = PatchCollator(model, artefact)
    assert collator([{"pixel_values": picture} for picture in problem.grid.pixels(x)])["noise"].shape == (8, 16)
    with pytest.raises(ValueError, match="over pictures and goes with no tokenizer"):
        artefact.speaks  # noqa: B018


@pytest.mark.parametrize(("mean", "kept"), [("0.25", [0.25, 2.0]), ("[0.25]", [0.25, 2.0])])
def test_a_policy_keeps_how_pixels_became_numbers(policylearn, run, folder, tmp_path, mean, kept):
    given = [str(folder / "digits.toml"), f"patches.mean={mean}", "patches.std=2"]
    assert policylearn("score", *given, "--scorer", "tficf", "--out", str(tmp_path / "policy"))[0] == 0
    policy = load_policy(tmp_path / "policy").policy
    problem = problem_of(load_config(given[0], given[1:]))
    x, _, _ = read_places(policy, [str(folder / "domain")])
    assert policy.field.scale.tolist() == kept and torch.equal(x, problem.domain.batch(range(len(x)))[0])
    check_fits(problem, load_policy(tmp_path / "policy"))
    with pytest.raises(
        ValueError, match=r"learned with patches.mean = 0\.5 and patches.std = 0\.5, this config has \[?0\.25"
    ):
        check_fits(problem, load_policy(run))


def test_policies_of_earlier_versions_have_pixels_as_they_were_by_default(run, tmp_path):
    place = copytree(run / "policy", tmp_path / "policy")
    tensors = load_file(place / "policy.safetensors")
    assert tensors.pop("segmenter.scale").tolist() == [0.5, 0.5]
    written(tensors, place)
    assert load_policy(place).policy.field.scale.tolist() == [0.5, 0.5]


def written(tensors, place):
    """The policy of a folder, of other tensors."""
    save_file(tensors, place / "policy.safetensors")
    manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["policy.safetensors"] = digest((place / "policy.safetensors").read_bytes())
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_evaluate_knows_the_policy_again(policylearn, run, folder, tmp_path):
    settings = [str(folder / "digits.toml"), 'evaluate.arms=["random"]', "evaluate.seeds=1"]
    status, out, _ = policylearn("evaluate", *settings, "--policy", f"mine={run}", "--out", str(tmp_path / "out"))
    assert status == 0 and "mine" in out
    status, _, err = policylearn(
        "evaluate",
        *settings,
        "model.architecture.patch_size=4",
        "--policy",
        f"mine={run}",
        "--out",
        str(tmp_path / "o"),
    )
    assert status == 2 and "the policy is over pictures of Grid(" in err


def test_score_shows_visual_words_and_exports_a_policy(policylearn, folder, tmp_path):
    settings = ["score", str(folder / "digits.toml"), "--scorer", "difference", "--top", "3"]
    status, out, _ = policylearn(*settings, "--out", str(tmp_path / "policy"))
    assert status == 0 and "anchors: word" in out and " in 1.1" in out + " in 1.1"
    assert load_policy(tmp_path / "policy").policy.names == ["difference"]


def test_policies_over_pictures_have_a_mean_unless_they_draw_as_they_go(policylearn, folder, tmp_path):
    for scorer in ("difference", "tficf", "block"):
        given = ["score", str(folder / "digits.toml"), "--scorer", scorer, "--out", str(tmp_path / scorer)]
        assert policylearn(*given)[0] == 0
    places = [f"{name}={tmp_path / name}" for name in ("difference", "tficf")]
    assert policylearn("average", *places, "--out", tmp_path / "both")[0] == 0
    both, *given = (load_policy(tmp_path / name).policy for name in ("both", "difference", "tficf"))
    grid = both.field.grid
    x = torch.rand(3, grid.count, grid.depth, generator=torch.Generator().manual_seed(0))
    real = torch.ones(3, grid.count, dtype=torch.bool)
    torch.testing.assert_close(both(x, real), sum(policy(x, real) for policy in given) / 2)
    blocks = [f"{name}={tmp_path / 'block'}" for name in ("one", "other")]
    status, _, err = policylearn("average", *blocks, "--out", tmp_path / "none")
    assert status == 2 and "numbers of 'block' that come with" in err, err


def test_inspect_shows_pictures_in_the_terminal_and_on_a_page(policylearn, run, folder, tmp_path):
    one = next((folder / "domain").iterdir())
    status, out, _ = policylearn("inspect", str(run), str(one))
    name, *drawn = out.strip().splitlines()
    lines = [line.split() for line in drawn]
    assert name == str(one)
    assert status == 0 and [len(line) for line in lines] == [4] * 4
    assert all(0 <= int(digit) <= 9 for line in lines for digit in line)
    status, out, _ = policylearn("inspect", str(run), str(folder / "domain"), "--html", str(tmp_path / "page.html"))
    assert status == 0 and "the first 24 of 80 pictures" in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 24 and page.count(str(folder / "domain")) == 24
    assert "the warmer a patch" in page.lower() and "colour of a token" not in page


def test_diagnose_measures_credits_of_visual_words(policylearn, folder, tmp_path):
    given = ["credit.batches=10", "diagnose.least=5", "credit.points=1", "evaluate.seeds=0"]
    status, out, _ = policylearn("diagnose", str(folder / "digits.toml"), *given, "--out", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert status == 0 and "task  40 / 40 / 40 pictures, 3 labels" in out
    assert all(word.startswith("word ") for word in found["words"]["help"]) and len(found["words"]["help"]) > 3


def test_predictions_are_held_against_what_comes(policylearn, folder, tmp_path):
    sizes = ["validity.changes=4", "validity.seeds=1", "validity.rollouts=1", "inner.window=2", "inner.every=3"]
    given = [*sizes, "policy.network=table", "learn.stages=[rounds]", "inner.engine=replay"]
    status, out, _ = policylearn("diagnose", str(folder / "digits.toml"), *given, "--validity", str(tmp_path / "out"))
    assert status == 0 and "4 changes × 2 signs × 1 seed + 1 rollout = 9 trainings" in out
    assert "pictures  80 of the domain, 80 general ones; all 8 × 8, in 16 patches of 2 × 2" in out


def test_other_forms_and_sizes_are_refused_with_what_will_do(policylearn, run, tmp_path):
    for form in ("table", "annotated"):
        status, _, err = policylearn("export", str(run), "--form", form, "--out", str(tmp_path / "out"))
        assert status == 2 and f"--form {form} is of texts, and {run} is over pictures: leave it out" in err, err
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    status, _, err = policylearn("inspect", str(run), str(tmp_path / "wide.png"))
    assert status == 2 and "resize or convert it to what the policy was learned with" in err, err


@pytest.mark.parametrize(
    ("places", "said"),
    [([], "no picture to inspect: name files of pictures"), (["nowhere.png"], "nowhere.png")],
)
def test_inspect_says_what_it_lacks(policylearn, run, places, said):
    status, _, err = policylearn("inspect", str(run), *places)
    assert status == 2 and said in err


def test_pictures_are_not_adapted(policylearn, folder, tmp_path):
    status, _, err = policylearn("adapt", str(folder / "digits.toml"), "--out", str(tmp_path / "out"))
    assert status == 2 and "adapt is of texts" in err and "evaluate.downstream" in err


def test_a_broken_picture_is_named_before_anything_is_trained(policylearn, folder, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "x.png").write_bytes(b"no picture")
    settings = [str(folder / "digits.toml"), f"domain.path={broken}"]
    status, _, err = policylearn("train", *settings, "--out", str(tmp_path / "out"))
    assert status == 2 and "domain.path" in err and "x.png is no picture that can be read" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segmenter.shape", torch.tensor([8, 8, 3, 1, 1, 1, 2])),
        ("segmenter.shape", torch.tensor([0, 8, 2, 1, 1, 1, 2])),
        ("segmenter.shape", torch.tensor([8, 8, 2, 1, 1, 1])),
        ("segmenter.codebook", torch.zeros(12, 5)),
        ("segmenter.codebook", torch.full((12, 4), torch.nan)),
        ("scores.types", torch.zeros(1, 3)),
        ("segmenter.scale", torch.ones(3)),
        ("segmenter.scale", torch.tensor([0.5, 0.0])),
        ("another", torch.zeros(1)),
    ],
)
def test_a_damaged_policy_over_pictures_is_refused(run, tmp_path, name, value):
    place = copytree(run / "policy", tmp_path / "policy")
    written(load_file(place / "policy.safetensors") | {name: value}, place)
    with pytest.raises(ValueError, match=r"policy.safetensors is damaged"):
        load_policy(place)


def test_boxes_are_seen_wherever_a_policy_is_shown(policylearn, folder, tmp_path):
    x = np.stack([np.asarray(Image.open(file)) for file in sorted((folder / "domain").iterdir())])
    np.savez(tmp_path / "boxed.npz", image=x, region=np.tile([[0.0, 0.0, 1.0, 0.5]], (len(x), 1, 1)))
    given = [str(folder / "digits.toml"), f"domain.path={tmp_path}/boxed.npz", "masking.rate=0.5"]
    assert policylearn("score", *given, "--scorer", "region", "--out", str(tmp_path / "policy"))[0] == 0
    status, out, _ = policylearn("inspect", str(tmp_path / "policy"), str(tmp_path / "boxed.npz"))
    upper, lower = (np.array([list(map(int, line.split())) for line in out.splitlines()[at : at + 2]]) for at in (2, 4))
    assert status == 0 and upper.min() > lower.max(), out
    problem, policy = problem_of(load_config(given[0], given[1:])), load_policy(tmp_path / "policy").policy
    rows = {row.word: row.learned for row in word_rows(policy, problem.domain, problem)}
    of = {place: [p for word, p in rows.items() if word.endswith(f" in {place}")] for place in ("1.1", "2.1")}
    assert min(of["1.1"]) > max(of["2.1"])
    shown = samples(problem, policy)["texts"]
    assert shown != drawn_pictures(policy, problem.domain.batch(range(4))[0])["texts"]


def test_where_a_page_lies_is_printed_to_be_copied(tmp_path):
    field = PatchField(torch.randn(4, 4), Grid(8, 8, patch=2, channels=1), MaskingConfig(rate=0.5))
    artefact = PolicyArtefact(patch_policy(field, {}, {}), None)
    np.savez(tmp_path / "two.npz", image=np.zeros((2, 8, 8), np.uint8))
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system=None)
    page = tmp_path / "a folder with a long name" / "my page.html"
    show_pictures(console, "mine", artefact, [str(tmp_path / "two.npz")], page)
    assert console.file.getvalue() == f"page  {page}\n" and page.is_file()


@pytest.mark.parametrize("network", ["table", "context"])
def test_what_rounds_have_moved_is_shown_beside_the_prior(network):
    torch.manual_seed(0)
    grid = Grid(8, 8, patch=2, channels=1)
    field = PatchField(torch.randn(4, grid.depth), grid, MaskingConfig(rate=0.5))
    scores = {"tficf": Scores(torch.tensor([1.0, 0.0, 0.0, 0.0]))}
    policy = patch_policy(field, scores, {"tficf": 2.0}, network=network)
    x = torch.randn(2, grid.count, grid.depth)
    as_it_is = drawn_pictures(policy, x)
    assert as_it_is["pairs"] == [] and len(as_it_is["texts"]) == 2
    policy.load_learned({name: torch.randn(phi.shape) for name, phi in policy.learned().items()})
    moved = drawn_pictures(policy, x)["pairs"]
    assert [re.sub('alt=".*?"', "", prior) for prior, _ in moved] == [
        re.sub('alt=".*?"', "", shown) for shown in as_it_is["texts"]
    ]
    told = re.findall('alt="(.*?)"', "".join(map(str, [*moved, *as_it_is["texts"]])))
    assert len(told) == len({*told}) == 6, told
    assert all(prior != learned for prior, learned in moved)
