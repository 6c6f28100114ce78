"""Weight masks as plain models, and on a shared encoder: always the logits of the classifier that learned them."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from policylearn.models.model import InnerModel
from policylearn.models.whole import inner_model
from policylearn.weight_masks.classifier import MaskedClassifier
from policylearn.weight_masks.masks import initial_scores
from policylearn.weight_masks.plain import fold, plain_model, save_plain, text_logits
from policylearn.weight_masks.selection import maskable
from policylearn.weight_masks.shared import SharedEncoder
from policylearn.weight_masks.storage import load_masks, save_masks
from policylearn.weight_masks.task import learned_masks

from .architectures import ARCHITECTURES, SEQ2SEQ


def parameters_of(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def logits_of(model, texts) -> torch.Tensor:
    with torch.no_grad():
        return model(*texts)


@pytest.fixture(params=[kind for kind in ARCHITECTURES if kind != "modernbert"])
def random(request):
    """A classifier under random masks of an architecture."""
    return random_classifier(request.param)


def random_classifier(kind):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **ARCHITECTURES[kind], initializer_range=0.3)
    model = InnerModel(AutoModelForMaskedLM.from_config(config).eval())
    scores = initial_scores(maskable(model, 1), 0.3, seed=0)
    return MaskedClassifier(model, scores, torch.randn(3, 8), torch.randn(3))


def test_a_folded_model_says_the_same(random):
    folded = fold(random.encoder, learned_masks(random, ["a", "b", "c"]))
    texts = torch.randint(4, 30, (5, 7)), torch.arange(7) < torch.tensor([[7], [3], [5], [1], [7]])
    with torch.no_grad():
        torch.testing.assert_close(text_logits(folded, *texts), random(*texts), rtol=1e-4, atol=1e-5)
        whole = fold(random.encoder, learned_masks(unmasked(random), ["a", "b", "c"]))
        assert not torch.allclose(text_logits(whole, *texts), random(*texts), atol=1e-2)  # the masks do something


def unmasked(classifier):
    scores = {name: torch.ones_like(m) for name, m in zip(classifier.names, classifier.scores, strict=True)}
    return MaskedClassifier(classifier.encoder, scores, classifier.weight, classifier.bias)


def test_an_architecture_whose_token_classifier_is_more_than_linear_is_refused():
    classifier = random_classifier("modernbert")
    with pytest.raises(ValueError, match="of type 'modernbert' is more than a linear map on the encoder"):
        fold(classifier.encoder, learned_masks(classifier, ["a", "b", "c"]))


def test_an_encoder_decoder_has_no_plain_model_of_its_parts():
    torch.manual_seed(0)
    model = inner_model(AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **SEQ2SEQ["t5"])).eval())
    with pytest.raises(ValueError, match="of type 't5' is not of the parts of this encoder, so it cannot say the same"):
        plain_model(model, dict(model.named_parameters()), torch.eye(2, 8), torch.zeros(2), ("a", "b"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_plain_model_is_as_exact_as_what_is_learned_whatever_the_checkpoint_is_kept_in(dtype, tmp_path):
    classifier = random_classifier("bert")
    classifier.encoder.mlm.config.dtype = dtype
    fold(classifier.encoder, learned_masks(classifier, ["a", "b", "c"])).save_pretrained(tmp_path)
    assert AutoModelForTokenClassification.from_pretrained(tmp_path).dtype == torch.float32
    assert classifier.encoder.mlm.config.dtype == dtype


def test_a_folded_folder_is_loaded_by_transformers_alone(problem, encoder, learned, masks, texts, tmp_path):
    before = parameters_of(encoder)
    save_plain(tmp_path, fold(encoder, masks), problem.tokenizer, 16)
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), before, strict=True))
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path)
    assert plain.config.id2label == dict(enumerate(problem.labels))
    torch.testing.assert_close(logits_of(lambda *t: text_logits(plain, *t), texts), logits_of(learned, texts))
    name = "encoder.layer.0.output.dense.weight"
    own = dict(encoder.mlm.bert.named_parameters())[name]
    weight = dict(AutoModel.from_pretrained(tmp_path).named_parameters())[name]
    mask = masks.masks()[name]
    assert torch.equal(weight[mask], own[mask]) and not weight[~mask].any() and not mask.all()


@pytest.mark.long
def test_the_card_of_a_folded_folder_runs(problem, encoder, learned, masks, tmp_path):
    save_plain(tmp_path, fold(encoder, masks), problem.tokenizer, 16)
    code = (tmp_path / "README.md").read_text().split("```")[1].removeprefix("python\n")
    given = ["class0_01 class0_02 generic_003", "class1_01"]
    script = f"folder, texts = {str(tmp_path)!r}, {given!r}\n{code}\nprint('found', labels, logits.tolist())"
    script += "\nimport sys; assert 'policylearn' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    batch = tokenizer(given, padding=True, return_tensors="pt")
    logits = logits_of(learned, (batch["input_ids"], batch["attention_mask"].bool()))
    labels, numbers = done.stdout.split("found ")[1].split("] ", 1)
    assert eval(labels + "]") == [problem.labels[i] for i in logits.argmax(1)]
    np.testing.assert_allclose(eval(numbers), logits, rtol=1e-4, atol=1e-5)


def test_tasks_share_an_encoder(problem, encoder, learned, masks, texts):
    scores = initial_scores(maskable(encoder, 0), 0.4, seed=9)
    other = MaskedClassifier(encoder, scores, torch.randn(3, 16), torch.zeros(3))
    before = parameters_of(encoder)
    shared = SharedEncoder(encoder, {"first": masks, "second": learned_masks(other, ["a", "b", "c"])})
    for task, classifier in (("first", learned), ("second", other), ("first", learned)):
        shared.use(task)
        torch.testing.assert_close(shared(*texts), logits_of(classifier, texts))
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), before, strict=True))
    sizes = shared.nbytes
    assert sizes["tasks"] == masks.nbytes + learned_masks(other, ["a", "b", "c"]).nbytes
    assert sizes["room"] == 4 * sum(rows * columns for rows, columns in masks.shapes.values()) < sizes["encoder"]
    with pytest.raises(ValueError, match=r"task 'third' is not known; known: \['first', 'second'\]"):
        shared.use("third")
    encoder.mlm.train()
    with pytest.raises(ValueError, match=r"in train mode, where dropout makes logits random: call encoder\.eval"):
        shared(*texts)
    encoder.mlm.eval()
    with pytest.raises(ValueError, match=r"no task is active: call use\(\) first, with one of \['first'\]"):
        SharedEncoder(encoder, {"first": masks})(*texts)
    stranger = problem.fresh_model(1)
    with pytest.raises(ValueError, match="learned on another encoder"):
        SharedEncoder(stranger, {"first": masks})


def test_a_task_of_pairs_is_told_them_and_others_are_not(encoder, texts, tmp_path):
    pairs = copy.copy(encoder)
    pairs.read_pairs(int(texts[0][0, 3]))
    scores = initial_scores(maskable(encoder, 0), 0.4, seed=9)
    head = torch.eye(2, 16), torch.zeros(2)
    learned = {name: MaskedClassifier(one, scores, *head) for name, one in {"pairs": pairs, "texts": encoder}.items()}
    assert not torch.allclose(*(logits_of(classifier, texts) for classifier in learned.values()))
    files = {name: save_masks(tmp_path / name, learned_masks(one, ["a", "b"])) for name, one in learned.items()}
    shared = SharedEncoder(encoder, {name: load_masks(file) for name, file in files.items()})
    for task in ("pairs", "texts", "pairs"):
        shared.use(task)
        torch.testing.assert_close(shared(*texts), logits_of(learned[task], texts))
    assert encoder.separator is None


def test_learning_masks_leaves_the_encoder_alone(problem, encoder, learned):
    fresh = problem.fresh_model(0).parameters()
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), fresh, strict=True))
    names = {name for name, _ in learned.named_parameters()}
    assert names == {*(f"scores.{i}" for i in range(6)), "weight", "bias"}
    assert all(p.grad is None for p in encoder.parameters())
    assert not any(m.grad is None for m in learned.scores)
