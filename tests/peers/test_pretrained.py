"""What `policylearn pretrain` leaves, in sentence-transformers: dense, and sparse by the head that was kept."""

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers", reason="make test-peers installs it")
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


def test_it_is_a_sparse_encoder_with_its_head(folder):
    encoder = SparseEncoder(folder, device="cpu")
    logits = AutoModelForMaskedLM.from_pretrained(folder)(**encoder.tokenizer(TEXTS[0], return_tensors="pt")).logits
    expected = logits[0].relu().log1p().max(0).values
    assert torch.allclose(encoder.encode(TEXTS[0]).to_dense(), expected, atol=1e-5)
