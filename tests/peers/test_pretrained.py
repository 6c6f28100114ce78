"""What `policylearn pretrain` leaves, in sentence-transformers: dense, and sparse by the kept head; and in SetFit."""

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers", reason="make test-peers installs it")
from datasets import Dataset
from rich.console import Console
from sentence_transformers import SentenceTransformer, SparseEncoder
from transformers import AutoModelForMaskedLM

from policylearn.commands.pretrain import pretrain

TEXTS = ["class0_01 generic_003", "generic_005"]


@pytest.fixture(scope="module")
def folder(tiny, finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    pretrain(tiny("pretrain.steps=2"), out, Console(quiet=True), str(finished))
    return str(out)


def test_it_is_an_encoder_with_mean_pooling(folder):
    encoder = SentenceTransformer(folder, device="cpu")
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(folder), encoder.tokenizer
    alone = [model.base_model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in TEXTS]
    assert np.allclose(encoder.encode(TEXTS), torch.stack(alone).detach().numpy(), atol=1e-5)


def test_it_is_the_body_of_a_setfit_classifier(folder, tmp_path):
    setfit = pytest.importorskip("setfit", reason="make test-peers installs it")
    classifier = setfit.SetFitModel.from_pretrained(folder, labels=["one", "other"])
    before = classifier.model_body.encode(TEXTS)
    assert np.allclose(before, SentenceTransformer(folder, device="cpu").encode(TEXTS), atol=1e-5)
    rows = {"text": ["class0_01 class0_02", "class0_03", "class1_01 class1_02", "class1_03"]}
    labelled = Dataset.from_dict(rows | {"label": ["one", "one", "other", "other"]})
    arguments = setfit.TrainingArguments(str(tmp_path), max_steps=3, report_to="none")
    setfit.Trainer(classifier, args=arguments, train_dataset=labelled).train()
    assert not np.allclose(classifier.model_body.encode(TEXTS), before)
    assert set(classifier.predict(rows["text"])) == {"one", "other"}


def test_it_is_a_sparse_encoder_with_its_head(folder):
    encoder = SparseEncoder(folder, device="cpu")
    logits = AutoModelForMaskedLM.from_pretrained(folder)(**encoder.tokenizer(TEXTS[0], return_tensors="pt")).logits
    expected = logits[0].relu().log1p().max(0).values
    assert torch.allclose(encoder.encode(TEXTS[0]).to_dense(), expected, atol=1e-5)
