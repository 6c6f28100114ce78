import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from policylearn.masking import Stream, example_keys, positions, uniforms
from policylearn.masking.keys import mix

ROWS = st.lists(st.integers(0, 30_000), min_size=1, max_size=20)


def padded(row: list[int], left: int, right: int, pad: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """One row of a batch, with that much padding on either side: input_ids and real, both [1, T]."""
    ids = [pad] * left + row + [pad] * right
    real = [False] * left + [True] * len(row) + [False] * right
    return torch.tensor([ids]), torch.tensor([real])


def key(row: list[int], seed: int = 0, epoch: int = 0, left: int = 0, right: int = 0, pad: int = 0) -> int:
    return int(example_keys(*padded(row, left, right, pad), seed, epoch))


@settings(max_examples=50)
@given(ROWS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 30_000))
def test_padding_of_any_side_length_and_content_leaves_the_key_alone(row, left, right, pad):
    assert key(row, left=left, right=right, pad=pad) == key(row)


@settings(max_examples=50)
@given(ROWS, st.lists(ROWS, min_size=1, max_size=4), st.data())
def test_neighbours_and_place_in_the_batch_leave_the_key_alone(row, others, data):
    place = data.draw(st.integers(0, len(others)))
    rows = [*others[:place], row, *others[place:]]
    width = max(map(len, rows))
    batch = [padded(r, 0, width - len(r)) for r in rows]
    ids, real = (torch.cat(parts) for parts in zip(*batch, strict=True))
    assert int(example_keys(ids, real, seed=3, epoch=2)[place]) == key(row, 3, 2)


@settings(max_examples=50)
@given(ROWS, ROWS, st.integers(0, 2**62), st.integers(1, 2**62), st.integers(0, 1000), st.integers(1, 1000))
def test_another_seed_epoch_or_text_is_another_key(row, other, seed, seed_step, epoch, epoch_step):
    mine = key(row, seed, epoch)
    assert mine != key(row, seed + seed_step, epoch)
    assert mine != key(row, seed, epoch + epoch_step)
    assert row == other or mine != key(other, seed, epoch)


def test_the_order_of_the_tokens_counts():
    assert key([5, 6, 7]) != key([7, 6, 5]) != key([6, 5, 7])


def test_seed_and_epoch_are_not_interchangeable():
    keys = {key([4, 5], seed, epoch) for seed in range(40) for epoch in range(40)}
    assert len(keys) == 1600


def test_keys_of_very_similar_texts_do_not_collide():
    ids = torch.tensor([[a, b, 7] for a in range(200) for b in range(200)])
    assert len(example_keys(ids, ids >= 0, 0).unique()) == 40_000


def test_positions_count_real_tokens_only():
    real = torch.tensor([[0, 0, 1, 1, 0, 1]])
    assert positions(real)[real.bool()].tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def drawn() -> dict[Stream, np.ndarray]:
    """Numbers of every stream for 400 similar texts, 50 positions each."""
    ids = torch.arange(400)[:, None] + torch.zeros(1, 50, dtype=torch.long)
    real = torch.ones_like(ids, dtype=torch.bool)
    keys = example_keys(ids, real, seed=0)
    return {stream: uniforms(keys, positions(real), stream).numpy() for stream in Stream}


def non_uniformity(u: np.ndarray) -> float:
    """p-value of a Kolmogorov-Smirnov test against the uniform distribution."""
    return stats.kstest(u.ravel(), "uniform").pvalue


def test_uniforms_lie_in_range_and_are_spread_evenly(drawn):
    for u in drawn.values():
        assert u.min() >= 0 and u.max() < 1 and len(np.unique(u)) == u.size
        assert non_uniformity(u) > 1e-3
        # Neighbouring positions and neighbouring texts must look as unrelated as any two numbers.
        assert non_uniformity((u[:, 1:] - u[:, :-1]) % 1.0) > 1e-3
        assert non_uniformity((u[1:] - u[:-1]) % 1.0) > 1e-3


def test_the_uniformity_test_would_notice_a_slight_slope(drawn):
    assert non_uniformity(drawn[Stream.ORDER] ** 1.05) < 1e-3


@pytest.mark.parametrize("one", Stream)
@pytest.mark.parametrize("other", Stream)
def test_streams_are_independent(drawn, one, other):
    if one < other:
        assert abs(np.corrcoef(drawn[one].ravel(), drawn[other].ravel())[0, 1]) < 4 / np.sqrt(drawn[one].size)
        assert non_uniformity((drawn[one] + drawn[other]) % 1.0) > 1e-3


def test_global_random_state_is_neither_read_nor_moved():
    before = torch.random.get_rng_state()
    u = uniforms(torch.tensor([3]), torch.arange(4)[None], Stream.ORDER)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(uniforms(torch.tensor([3]), torch.arange(4)[None], Stream.ORDER), u)


def test_inside_a_transform_of_torch_the_same_bits_are_drawn():
    x = torch.arange(6).view(2, 3)
    inside = []

    def loss(w):
        inside.append(mix(x + 0 * w.long()))
        return (w * inside[0]).sum()

    torch.func.grad(loss)(torch.ones(2, 3))
    assert inside[0].tolist() == mix(x).tolist()
