"""A problem of pictures, scikit-learn's digits: all that asks a problem of texts can ask it."""

import json
import pickle

import datasets
import numpy as np
import pytest
import torch
import transformers
from sklearn.datasets import load_digits
from torch.func import functional_call

from policylearn.arms.arms import check_fits, initial_policy
from policylearn.arms.policies import build_policy, build_uniform, scores_of
from policylearn.artefact import PolicyArtefact, save_policy
from policylearn.config import Config, PolicyConfig
from policylearn.credit.domain import DomainCredits
from policylearn.evaluation import identity
from policylearn.evaluation.pretraining import HELD_OUT_MASKS, held_out_loss
from policylearn.evaluation.trial import run_trial
from policylearn.inner.objectives import objective_of
from policylearn.inner.trajectory import Trajectory
from policylearn.learning.rollout import rollout
from policylearn.metagrad.one_step import outer_direction, token_derivatives
from policylearn.policy.patches import draw_patches
from policylearn.problems.of_config import problem_of
from policylearn.problems.pictures import PictureProblem
from policylearn.problems.texts import TextProblem

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WIDE = {"initializer_range": 0.2}  # where attention is all but flat, `finite_difference` has nothing to go by
DIGITS = {"image_size": 8, "patch_size": 2, "num_channels": 1}
MAE = {
    "model_type": "vit_mae",
    **DIGITS,
    **SIZES,
    **WIDE,
    **{f"decoder_{name}": value for name, value in SIZES.items()},
}
SWIN = {"embed_dim": 8, "depths": [1], "num_heads": [2], "window_size": 2, "encoder_stride": 2}
MODELS = {
    "vit_mae": MAE,
    "vit": {"model_type": "vit", **DIGITS, **SIZES, "encoder_stride": 2},
    "swin": {"model_type": "swin", **DIGITS, **SWIN},
    "beit": {"model_type": "beit", **DIGITS, **SIZES, "vocab_size": 16, "use_mask_token": True},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Digits below four, labelled and not, and the others as general pictures."""
    folder, found = tmp_path_factory.mktemp("digits"), load_digits()
    x, y = (found.images * 15.9375).astype(np.uint8), found.target
    own, its = x[y < 4], y[y < 4]
    for number, split in enumerate(("train", "dev", "test")):
        rows = slice(100 * number, 100 * (number + 1))
        np.savez(folder / f"{split}.npz", image=own[rows], label=its[rows])
    np.savez(folder / "domain.npz", image=own[300:])
    np.savez(folder / "general.npz", image=x[y >= 4])
    return folder


@pytest.fixture
def make_problem(digits):
    def make(kind="vit_mae", **sections):
        given = {
            "patches": {"words": 16},
            "model": {"architecture": MODELS[kind]},
            "task": {"path": str(digits)},
            "domain": {"path": str(digits / "domain.npz")},
            "general": {"path": str(digits / "general.npz")},
            "masking": {"rate": 0.6, "p_max": 0.95},
            "policy": {"prior": {}, "network": "table"},
            "scores": {"difference": {"anchor_ratio": 1.2}, "model_texts": 100},
            "inner": {"steps": 8, "batch_size": 16, "engine": "replay", "window": 2, "every": 4},
            "credit": {"batches": 1, "points": 2, "examples": 60, "resplits": 1},
            "outer": {"support": 40, "query": 40},
            "evaluate": {"arms": ["random"], "downstream": ["probe"]},
            "cluster": {"backend": "local"},
        }
        return problem_of(Config.model_validate(given | sections))

    return make


def test_test_pictures_of_the_domain_are_said(make_problem, digits, tmp_path):
    both = [np.load(digits / f"{name}.npz")["image"] for name in ("domain", "test")]
    np.savez(tmp_path / "domain.npz", image=np.concatenate([both[0], both[1][:7]]))
    said = []
    for path in (tmp_path, digits):
        problem = make_problem(domain={"path": str(path / "domain.npz")})
        problem.tell = said.append
        problem.check()
    told = [line for line in said if "in it too" in line]
    assert told == ["domain  7 of 100 test pictures are in it too: pretraining sees them, without labels"]


def test_a_checkpoint_that_has_seen_other_pixels_is_said(make_problem, tmp_path):
    transformers.AutoModelForPreTraining.from_config(transformers.ViTMAEConfig(**MAE)).save_pretrained(tmp_path)
    fields, said = {"image_mean": [0.485], "image_std": [0.229]}, []
    for given, patches in (
        ({}, {}),
        (fields, {}),
        (fields, {"mean": 0.45, "std": 0.226}),
        ({"do_normalize": True}, {}),
    ):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
        problem = make_problem(model={"name": str(tmp_path)}, patches={"words": 16} | patches)
        problem.tell = said.append
        problem.check_task()
    (line,) = [line for line in said if "preprocessor_config" in line]
    assert "image_mean [0.485] and image_std [0.229], patches.mean 0.5 and patches.std 0.5 are far from that" in line


def test_of_a_limited_corpus_the_first_pictures_are_read(make_problem, digits):
    problem = make_problem(domain={"path": str(digits / "domain.npz"), "limit": 7})
    assert np.array_equal(problem.domain.pixels, make_problem().domain.pixels[:7])


def test_what_is_cut_or_guessed_is_said(make_problem, digits):
    said = []
    problem = make_problem(domain={"path": str(digits / "train.npz"), "limit": 1}, masking={})
    problem.tell = said.append
    problem.check()
    assert any(line.startswith("domain.limit  the first 1 pictures are all of class ") for line in said)
    assert "inner.batch_size  16, and domain.path has 1 pictures: a batch repeats some" in said
    assert "masking.rate  is not set: 0.15 of the patches, where SimMIM hides 0.6 and ViTMAE 0.75" in said


def test_labels_of_a_limited_corpus_may_be_lists(make_problem, digits, tmp_path):
    x = np.load(digits / "domain.npz")["image"][:30].tolist()
    for name, labels in (("one", [[1, 2]] * 30), ("two", [[1, 2]] * 5 + [[3]] * 25)):
        datasets.Dataset.from_dict({"image": x, "label": labels}).save_to_disk(tmp_path / name)
        said = []
        problem = make_problem(domain={"path": str(tmp_path / name), "limit": 20})
        problem.tell = said.append
        assert len(problem.domain) == 20
        told = "domain.limit  the first 20 pictures are all of class [1, 2]: if others follow, raise it, or unset it"
        assert (told in said) == (name == "one")


def test_general_pictures_are_asked_for_by_their_setting(make_problem):
    with pytest.raises(ValueError, match=r"general\.path is not set: name general pictures"):
        make_problem(general={}).check()


@pytest.mark.parametrize(
    ("section", "key", "value"), [("task", "text", "body"), ("model", "max_length", 99), ("task", "dev_share", 0.3)]
)
def test_settings_of_texts_are_refused(make_problem, section, key, value):
    given = make_problem().config.model_dump(exclude_unset=True)
    with pytest.raises(ValueError, match=rf"pictures, does not go with {section}\.{key} = {value!r}: leave it out"):
        Config.model_validate(given | {section: given[section] | {key: value}})


def test_a_config_says_whether_it_is_of_pictures(make_problem):
    problem = make_problem()
    assert isinstance(problem, PictureProblem)
    assert problem.config.inner.objective == "masked_patches"
    assert type(problem_of(Config())) is TextProblem
    problem.check()
    assert problem.labels == ["0", "1", "2", "3"] and len(problem.examples("train")) == 100
    with pytest.raises(ValueError, match="the config is one of pictures"):
        problem.tokenizer  # noqa: B018


@pytest.mark.parametrize("model", MODELS)
def test_the_loss_of_a_step_is_the_one_the_model_has_itself(make_problem, model):
    problem = make_problem(model)
    policy, own = build_uniform(problem), problem.fresh_model(0)
    x, real = problem.domain.batch(range(6))
    batch = draw_patches(policy, x, real, seed=0, epoch=0)
    objective = objective_of(problem)
    loss = objective(own, batch, objective.inputs(batch, torch.zeros(())))
    given = {"bool_masked_pos": batch.mask}
    if model == "vit_mae":
        own.mlm.config.mask_ratio = 1 - 6.5 / 16  # of sixteen, six are kept at this rate
        given = {"noise": batch.mask + torch.arange(16) / 16}
    if model == "beit":
        given["labels"] = batch.labels[batch.mask]
    assert float(loss.detach()) == pytest.approx(float(own.mlm(problem.grid.pixels(x), **given).loss), rel=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_features_hide_nothing_and_tell_pictures_apart(make_problem, model):
    problem = make_problem(model)
    x, real = problem.domain.batch(range(6))
    with torch.no_grad():
        found = problem.fresh_model(0)(x, real)
        again = problem.fresh_model(0)(x, real)
    assert torch.equal(found, again) and found.ndim == 2 and found.std(0).min() > 0


def test_a_vit_mae_from_scratch_knows_places(make_problem):
    table = make_problem().fresh_model(0).mlm.decoder.decoder_pos_embed[0, 1:]
    assert len(torch.unique(table, dim=0)) == 16


@pytest.mark.parametrize("model", MODELS)
def test_credits_are_slopes_of_the_outer_loss_in_the_weight_of_a_patch(make_problem, model):
    """d · ∇ℓ_i by forward mode, against the difference of losses at two models a little way along d."""
    problem = make_problem(model)
    trajectory = Trajectory.start(problem, build_uniform(problem), 0)
    for _ in range(2):
        trajectory.take_step(next(trajectory.batches))
    own, batch = trajectory.model.double(), next(trajectory.batches)
    draw = torch.Generator().manual_seed(0)
    direction = {n: torch.randn(p.shape, generator=draw).double() for n, p in own.named_parameters() if p.requires_grad}
    batch = draw_patches(trajectory.policy, batch.original.double(), batch.real, 0, 0)
    found = token_derivatives(own, direction, batch, trajectory.objective) * batch.mask.sum()

    def losses(step):
        moved = {n: p.detach() + step * direction[n] for n, p in own.named_parameters() if n in direction}
        return functional_call(own, moved, (batch.original, batch.real), {"labels": batch.labels})

    with torch.no_grad():
        numeric = (losses(1e-5) - losses(-1e-5)) / 2e-5
    # Attention's weights are in single precision, whatever the model is.
    assert torch.allclose(found, numeric, rtol=1e-3, atol=1e-3 * float(numeric.abs().max()))


@pytest.mark.parametrize("engine", ["replay", "finite_difference"])
def test_a_rollout_moves_the_policy_over_pictures(make_problem, engine):
    problem = make_problem()
    inner = problem.config.inner.model_copy(update={"engine": engine})
    problem.config = problem.config.model_copy(update={"inner": inner})
    policy = build_policy(problem, problem.config.policy)
    first, again = (rollout(problem, policy, seed=1) for _ in range(2))
    gradient = first.gradient["network.logits"]
    assert gradient.abs().sum() > 0 and torch.equal(gradient, again.gradient["network.logits"])
    assert 0 < first.metrics["dev"] <= 1


def test_credits_of_the_domain_are_by_visual_word(make_problem):
    problem = make_problem()
    found = DomainCredits(problem, build_uniform(problem)).credit(0, 0, 2)
    assert all(part.ids.max() < 16 and len(part.credits) == part.mask.sum() for part in found)
    scores = scores_of(problem, ["credit"])["credit"]
    assert "16 token types" in scores.learned_from and len(scores.types) == 16


@pytest.mark.parametrize("scorer", ["uniform", "tficf", "difference", "loss", "block", "structured"])
def test_every_scorer_makes_a_policy_that_a_model_can_be_trained_under(make_problem, scorer):
    problem = make_problem()
    policy = build_policy(problem, PolicyConfig(prior={scorer: 3.0}, network="none"))
    trial = run_trial(problem, policy, scorer, seed=0)
    assert trial.masked_tokens == 8 * 16 * 10  # six of sixteen are kept
    assert 0 < trial.score <= 1 and np.isfinite(trial.held_out_loss)


def test_boxes_of_the_domain_are_a_prior(make_problem, digits, tmp_path):
    with pytest.raises(ValueError, match="scorer 'region' reads boxes: give"):
        scores_of(make_problem(), ["region"])
    x = np.load(digits / "domain.npz")["image"]
    np.savez(tmp_path / "domain.npz", image=x, region=np.tile([[0.0, 0.0, 1.0, 0.5]], (len(x), 1, 1)))
    masking = {"rate": 0.5, "p_max": 1.0}
    problem = make_problem(domain={"path": str(tmp_path / "domain.npz")}, masking=masking)
    policy = build_policy(problem, PolicyConfig(prior={"region": 20.0}, network="none"))
    batch = next(Trajectory.start(problem, policy, 0).batches)
    assert batch.mask[:, :8].all() and not batch.mask[:, 8:].any()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"inner": {"objective": "masked_lm"}}, 'inner.objective = "masked_lm": set "masked_patches"'),
        ({"masking": {"unit": "word"}}, 'masking.unit = "word"'),
        ({"model": {"architecture": MODELS["vit_mae"], "bf16": True}}, "model.bf16 = true: leave it out"),
        ({"domain": {"path": "planted"}}, "of a benchmark of texts"),
        ({"policy": {"prior": {"idf": 1.0}}}, "policy.prior: "),
    ],
)
def test_what_is_of_texts_is_refused_when_the_config_is_read(make_problem, sections, said):
    with pytest.raises(ValueError, match=said):
        make_problem(**sections)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MAE | {"patch_size": 3}, "patches.size 3 does not divide pictures of 8 × 8: set it to one of 1, 2, 4, 8"),
        (MAE | {"num_channels": 3}, "is 8 × 8 × 1 and not 8 × 8 × 3"),
        ({"model_type": "bert"}, "is of type 'bert', and patches.words is for vit_mae"),
        (
            MODELS["beit"] | {"vocab_size": 7},
            r"tells 7 visual words, and there are 16: set model\.architecture\.vocab_size",
        ),
        (MODELS["swin"] | {"depths": [1, 1], "num_heads": [2, 2], "window_size": 3}, "cannot restore patches that are"),
        (
            MODELS["vit"] | {"image_size": [8, 16]},
            "is of pictures of 8 × 16, and vit restores squares alone: set image_size",
        ),
        (MAE | {"hidden_size": 18}, "hidden_size or decoder_hidden_size 18 is no multiple of 4"),
    ],
)
def test_a_model_that_does_not_go_with_the_pictures_is_refused_before_training(make_problem, model, said):
    with pytest.raises(ValueError, match=said):
        make_problem(model={"architecture": model}).check()


def test_a_class_that_train_does_not_have_is_named(make_problem, digits, tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.npz").write_bytes((digits / f"{split}.npz").read_bytes())
    np.savez(tmp_path / "test.npz", image=np.zeros((2, 8, 8), np.uint8), label=["0", "9"])
    with pytest.raises(ValueError, match=r"row 1: label .9. is not in the label set"):
        make_problem(task={"path": str(tmp_path)}).check()


def test_outer_gradients_pass_by_what_is_frozen(make_problem):
    problem = make_problem()
    trajectory = Trajectory.start(problem, build_uniform(problem), 0)
    trajectory.take_step(next(trajectory.batches))
    found = outer_direction(
        trajectory.model, trajectory.optimizer, 1.0, lambda model: model(*problem.domain.batch([0])).sum()
    )
    assert found and not any("position_embeddings" in name for name in found)


def exported(problem, folder):
    policy = build_policy(problem, problem.config.policy)
    save_policy(folder, PolicyArtefact(policy, None, {}), "card")
    return policy


def test_what_was_learned_of_visual_words_is_not_taken_for_that_of_others(make_problem, digits, tmp_path):
    problem = make_problem()
    policy, start = exported(problem, tmp_path), {"start": str(tmp_path)}
    again = initial_policy(make_problem(learn=start))
    assert torch.equal(again.field.codebook, policy.field.codebook)
    for other in ({"domain": {"path": str(digits / "general.npz")}}, {"patches": {"words": 16, "zones": 2}}):
        with pytest.raises(ValueError, match="its visual words are not those of the pictures of"):
            initial_policy(make_problem(learn=start, **other))


def test_a_checkpoint_of_pictures_is_what_its_file_holds(make_problem, tmp_path):
    model = make_problem().fresh_model(0).mlm
    weights = model.state_dict()
    model.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    name = {"name": str(tmp_path / "half")}
    assert make_problem(model=name).fresh_model(0).mlm.dtype == torch.float32
    lost = {key: value for key, value in weights.items() if "layers.0" not in key or key.startswith("decoder")}
    assert len(lost) < len(weights)
    model.save_pretrained(tmp_path / "lost", state_dict=lost)
    with pytest.raises(ValueError, match=r"lacks .* of the weights of its encoder, which would be random"):
        make_problem(model={"name": str(tmp_path / "lost")}).fresh_model(0)


def test_of_a_checkpoint_that_classifies_pictures_what_is_random_is_said(make_problem, tmp_path):
    own = transformers.ViTConfig(**{key: value for key, value in MODELS["vit"].items() if key != "model_type"})
    transformers.ViTForImageClassification(own).save_pretrained(tmp_path)
    model = make_problem(model={"name": str(tmp_path)}).fresh_model(0)
    assert "random therefore" in model.remark and "mask_token" in model.remark and "decoder" in model.remark


def test_draws_of_pictures_that_share_what_there_is_to_hide_share_rate_and_structure(make_problem):
    problem = make_problem(masking={"rate": {"kind": "uniform", "low": 0.2, "high": 0.8, "per": "text"}, "p_max": 1.0})
    policy = build_policy(problem, PolicyConfig(prior={"structured": 1.0}, network="none"))
    policy = policy.under(design="explore", draws=2)
    x, real = problem.domain.batch(range(6))
    first, second, next_pair = (draw_patches(policy, x, real, 0, epoch) for epoch in (0, 1, 2))
    assert torch.equal(first.p, second.p) and not torch.equal(first.p, next_pair.p)


def test_names_of_classes_are_looked_at(make_problem, digits):
    with pytest.raises(ValueError, match=r"task\.labels names .0. twice"):
        make_problem(task={"path": str(digits), "labels": ["0", "0", "1", "2", "3"]}).check()


def words_of(problem, batch):
    return problem.field(problem.config.masking).types(batch.original)[batch.mask]


def test_beit_tells_words_of_the_problem_whoever_masks_and_when_it_is_measured(make_problem, digits):
    problem, others = make_problem("beit"), {"domain": {"path": str(digits / "general.npz")}}
    own, *given = (build_uniform(make_problem("beit", **x)) for x in ({}, others, {"patches": {"words": 2}}))
    wanted = next(Trajectory.start(problem, own, 0).batches).labels
    for policy in given:
        batch = next(Trajectory.start(problem, policy, 0).batches)
        assert torch.equal(batch.labels, wanted) and not torch.equal(policy.field.types(batch.original), wanted)
    held_out_loss(problem, problem.fresh_model(0))
    for _, batch in problem.memo[HELD_OUT_MASKS]:
        assert torch.equal(batch.labels[batch.mask], words_of(problem, batch)) and batch.labels.unique().numel() > 9


def test_workers_have_the_visual_words_of_whoever_read_the_pictures(make_problem):
    problem = make_problem("beit")
    problem.codebook = problem.codebook.flip(0)
    worker = problem_of(problem.config, data=pickle.loads(pickle.dumps(problem.data())))
    assert torch.equal(worker.codebook, problem.codebook)
    (one, other) = (next(Trajectory.start(each, build_uniform(problem), 0).batches) for each in (problem, worker))
    assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("model", MODELS)
def test_words_are_looked_for_only_where_a_model_tells_them(make_problem, model):
    problem = make_problem(model)
    objective_of(problem)
    assert ("codebook" in vars(problem)) == (model == "beit")


@pytest.mark.parametrize("model", ["vit_mae", "beit"])
def test_a_trial_from_when_beit_told_the_words_of_a_policy_is_another(make_problem, monkeypatch, model):
    monkeypatch.setattr(identity, "_sha256", lambda content: content.decode("latin-1"))
    assert ("words of the config" in identity.evidence_key(make_problem(model))) == (model == "beit")


def boxed(place, digits):
    """The domain with boxes: the upper half of every picture."""
    x = np.load(digits / "domain.npz")["image"]
    np.savez(place, image=x, region=np.tile([[0.0, 0.0, 1.0, 0.5]], (len(x), 1, 1)))
    return {"domain": {"path": str(place)}, "masking": {"rate": 0.5, "p_max": 1.0}}


def test_a_policy_of_boxes_is_refused_where_pictures_have_none(make_problem, digits, tmp_path):
    problem = make_problem(**boxed(tmp_path / "domain.npz", digits))
    artefact = PolicyArtefact(build_policy(problem, PolicyConfig(prior={"region:rank": 1.0}, network="none")), None, {})
    check_fits(problem, artefact)
    with pytest.raises(ValueError, match=r"goes by boxes: give domain\.path .*domain\.npz an array 'region'"):
        check_fits(make_problem(), artefact)


@pytest.mark.parametrize("model", ["vit_mae", "beit"])
def test_classifier_and_masked_pictures_are_trained_at_once(make_problem, model):
    problem = make_problem(model, outer={"support": 40, "query": 40, "adaptation": "joint"})
    assert rollout(problem, build_policy(problem, problem.config.policy), seed=1).metrics["dev"] > 0
    brief = {"arms": ["none"], "downstream": ["joint"], "joint": {"epochs": 1}}
    assert run_trial(make_problem(model, evaluate=brief), None, "none", 0).score > 0


@pytest.mark.parametrize(
    "given",
    [
        {"model_type": "vit"},
        {"model_type": "swin"} | SWIN | {"encoder_stride": 32},
        {"model_type": "beit", "vocab_size": 16},
        {"model_type": "vit", "patch_size": [2, 2], "image_size": [8, 8]},
        {"model_type": "swin", **SWIN, "patch_size": [2, 2]},
    ],
)
def test_models_hide_patches_whatever_their_defaults(make_problem, given, tmp_path):
    shape = {**DIGITS, **(SIZES if given["model_type"] != "swin" else {})} | given
    classifies = {key: value for key, value in shape.items() if key != "vocab_size"}
    own = transformers.AutoConfig.for_model(**classifies)
    transformers.AutoModelForImageClassification.from_config(own).save_pretrained(tmp_path)
    for model in ({"architecture": shape}, {"name": str(tmp_path)}):
        problem = make_problem(model=model)
        problem.check_task()
        trajectory = Trajectory.start(problem, build_uniform(problem), 0)
        trajectory.take_step(next(trajectory.batches))
