"""The scripts of configs/trainers that need a package of the extra test-peers."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="make test-peers installs it")
pytest.importorskip("sentence_transformers", reason="make test-peers installs it")
from sentence_transformers import SentenceTransformer

RUNS = {"lightning_trainer": ("lightning_trainer", 1), "sentence_transformers_mlm": ("sentence_transformers_mlm", 1)}


@pytest.fixture(scope="module")
def runs(run_scripts):
    return run_scripts(RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_its_model_sees_the_masks_of_the_epoch(runs, masks_of, masks_of_epoch, run):
    folder, said = runs
    path = folder / run / "rank0.pt"
    assert path.exists(), said
    seen = torch.load(path)
    assert len(seen) == 12
    for epoch in range(3):
        assert masks_of(seen[4 * epoch : 4 * epoch + 4]) == masks_of_epoch(epoch)


def test_the_encoder_is_the_trained_one(runs, trained_texts):
    folder, said = runs
    out = folder / "sentence_transformers_mlm"
    assert (out / "encoder").exists(), said
    vectors = SentenceTransformer(str(out / "encoder")).encode(trained_texts)
    assert vectors.shape == (32, 16) and np.isfinite(vectors).all()
    assert np.allclose(vectors, SentenceTransformer(str(out / "mlm")).encode(trained_texts), atol=1e-5)
    assert not np.allclose(vectors, SentenceTransformer(str(folder / "model")).encode(trained_texts), atol=1e-2)
