import json

import pytest
import torch

from policylearn.cluster import checkpoint
from policylearn.cluster.checkpoint import KEEP, OuterState, load_latest, load_round, save_state


def state(number: int) -> OuterState:
    g = torch.Generator().manual_seed(number)
    tensors = {
        "phi.network.logits": torch.randn(5, generator=g),
        "adam.network.logits.exp_avg": torch.randn(5, generator=g, dtype=torch.float64),
        "adam.network.logits.step": torch.tensor(float(number)),
    }
    best = {"network.logits": torch.randn(5, generator=g)}
    history = [{"round": i, "dev": 0.1 + 0.2, "dev_scores": [1 / 3]} for i in range(number)]
    return OuterState(number, tensors, best, history, {"random": 0.1, "best_round": 0})


def assert_same(a: OuterState, b: OuterState) -> None:
    assert (a.round, a.history, a.numbers) == (b.round, b.history, b.numbers)
    for mine, theirs in ((a.tensors, b.tensors), (a.best, b.best)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert all(mine[name].dtype == theirs[name].dtype for name in mine)


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    assert save_state(tmp_path / "deep" / "down", state(7)).name == "round-0007"
    found, complaints = load_latest(tmp_path / "deep" / "down")
    assert complaints == []
    assert_same(found, state(7))


def test_an_empty_state_comes_back_too(tmp_path):
    save_state(tmp_path, OuterState())
    assert_same(load_latest(tmp_path)[0], OuterState())


def test_where_there_is_nothing_nothing_is_found(tmp_path):
    assert load_latest(tmp_path / "none") == (None, [])


def test_the_newest_few_are_kept_and_the_newest_is_loaded(tmp_path):
    for number in range(1, 13):
        save_state(tmp_path, state(number))
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == [f"round-{number:04d}" for number in range(13 - KEEP, 13)]
    assert load_latest(tmp_path)[0].round == 12
    assert_same(load_round(tmp_path, 11), state(11))
    with pytest.raises(ValueError, match=r"keeps no checkpoint of round 3; it keeps \[10, 11, 12\]"):
        load_round(tmp_path, 3)


def test_saving_a_round_again_replaces_it(tmp_path):
    save_state(tmp_path, state(1))
    changed = state(1)
    changed.numbers["random"] = 0.9
    save_state(tmp_path, changed)
    assert_same(load_latest(tmp_path)[0], changed)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", [cut, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_a_damaged_checkpoint_is_passed_over_with_a_complaint(tmp_path, name, damage):
    for number in (1, 2):
        save_state(tmp_path, state(number))
    damage(tmp_path / "round-0002" / name)
    found, complaints = load_latest(tmp_path)
    assert_same(found, state(1))
    (complaint,) = complaints
    assert f"{tmp_path}/round-0002 is damaged" in complaint


def test_a_single_flipped_bit_is_noticed(tmp_path):
    for number in (1, 2):
        save_state(tmp_path, state(number))
    flip(tmp_path / "round-0002" / "state.safetensors")
    found, complaints = load_latest(tmp_path)
    assert found.round == 1
    assert "does not match" in complaints[0]


def test_when_all_are_damaged_every_one_is_complained_of(tmp_path):
    for number in (1, 2):
        flip(save_state(tmp_path, state(number)) / "state.safetensors")
    found, complaints = load_latest(tmp_path)
    assert found is None
    assert ["round-0002" in complaints[0], "round-0001" in complaints[1]] == [True, True]


def test_a_checkpoint_that_was_being_written_is_not_there_yet(tmp_path, monkeypatch):
    """The process dies before the rename: the earlier checkpoint counts, and writing again succeeds."""
    save_state(tmp_path, state(1))

    def died(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "replace", died)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, state(2))
    (pending,) = tmp_path.glob(".*")
    assert (pending / "state.json").is_file()
    found, complaints = load_latest(tmp_path)
    assert (found.round, complaints) == (1, [])
    (pending / "state.safetensors").write_bytes(b"half")
    save_state(tmp_path, state(2))
    assert_same(load_latest(tmp_path)[0], state(2))
    assert not list(tmp_path.glob(".*"))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    folder = save_state(tmp_path, state(1))
    assert sorted(p.name for p in folder.iterdir()) == ["state.json", "state.safetensors"]
    assert json.loads((folder / "state.json").read_text())["round"] == 1
