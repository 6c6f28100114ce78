"""Visual words: the same bits however many cores a machine has."""

import pytest
import torch
from threadpoolctl import threadpool_limits

from policylearn.masking.visual_words import visual_words


@pytest.mark.parametrize("threads", [2, 8])
def test_words_are_the_same_bits_on_any_number_of_cores(threads, monkeypatch):
    x = torch.rand(1500, 16, 4, generator=torch.Generator().manual_seed(0))
    alone = visual_words(x, 16)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))  # which scikit-learn holds above the number of cores
    with threadpool_limits(threads, "openmp"):
        assert torch.equal(visual_words(x, 16), alone)
