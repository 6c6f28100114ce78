import hashlib
import io
import json
import pickle
from pathlib import Path

import pytest
import torch

from policylearn.runs.state import KEEP, State, load_latest, load_round, save_files, state_files
from policylearn.storage.folder import Storage, StorageFailed


def save_state(folder, state: State):
    return save_files(folder, state.round, state_files(state))


def state(number: int) -> State:
    g = torch.Generator().manual_seed(number)
    tensors = {
        "phi.network.logits": torch.randn(5, generator=g),
        "adam.network.logits.exp_avg": torch.randn(5, generator=g, dtype=torch.float64),
        "adam.network.logits.step": torch.tensor(float(number)),
    }
    best = {"network.logits": torch.randn(5, generator=g)}
    history = [{"round": i, "dev": 0.1 + 0.2, "dev_scores": [1 / 3]} for i in range(number)]
    return State(number, tensors, best, history, {"random": 0.1, "best_round": 0})


def assert_same(a: State, b: State) -> None:
    assert (a.round, a.history, a.numbers) == (b.round, b.history, b.numbers)
    for mine, theirs in ((a.tensors, b.tensors), (a.best, b.best)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        assert all(mine[name].dtype == theirs[name].dtype for name in mine)


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    assert str(save_state(tmp_path / "deep" / "down", state(7))) == f"{tmp_path}/deep/down/round-0007"
    found, complaints = load_latest(tmp_path / "deep" / "down")
    assert complaints == []
    assert_same(found, state(7))


def test_an_empty_state_comes_back_too(tmp_path):
    save_state(tmp_path, State())
    assert_same(load_latest(tmp_path)[0], State())


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


def test_retention_goes_by_numbers_and_not_by_names(tmp_path):
    for number in range(9_997, 10_003):
        save_state(tmp_path, state(0))
        (tmp_path / "round-0000").rename(tmp_path / f"round-{number}")
    save_state(tmp_path, state(1))  # lower than all there are
    assert {p.name for p in tmp_path.iterdir()} >= {"round-0001", "round-10002", "round-9997"}
    flip(tmp_path / "round-10002" / "state.json")
    assert "round-10002" in load_latest(tmp_path)[1][0]


def test_what_is_sound_is_never_written_again(tmp_path):
    save_state(tmp_path, state(1))
    before = {path: path.stat().st_ino for path in (tmp_path / "round-0001").iterdir()}
    changed = state(1)
    changed.numbers["random"] = 0.9
    save_state(tmp_path, changed)
    assert before == {path: path.stat().st_ino for path in (tmp_path / "round-0001").iterdir()}
    assert_same(load_latest(tmp_path)[0], state(1))


def test_what_is_damaged_is_written_again(tmp_path):
    save_state(tmp_path, state(1))
    flip(tmp_path / "round-0001" / "state.safetensors")
    save_state(tmp_path, state(1))
    found, complaints = load_latest(tmp_path)
    assert complaints == []
    assert_same(found, state(1))


def test_damaged_rounds_that_are_newer_do_not_push_a_sound_one_out(tmp_path):
    """A run that went back to round 2 saves round 3, which is older than the damaged ones it passed over."""
    for number in range(2, 10):
        save_state(tmp_path, state(number))
    save_state(tmp_path, state(2))
    for number in (7, 8, 9):
        flip(tmp_path / f"round-000{number}" / "state.safetensors")
    save_state(tmp_path, state(3))
    found, complaints = load_latest(tmp_path)
    assert (found.round, len(complaints)) == (3, 3)


def test_rounds_that_were_not_finished_do_not_push_sound_ones_out(tmp_path):
    for number in range(1, 4):
        save_state(tmp_path, state(number))
    for number in range(4, 9):
        (tmp_path / f"round-000{number}").mkdir()
        (tmp_path / f"round-000{number}" / "state.json").touch()
    save_state(tmp_path, state(9))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["round-0002", "round-0003", "round-0009"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path, bit=None):
    data = bytearray(path.read_bytes())
    bit = 8 * len(data) - 8 if bit is None else bit
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize(
    "damage",
    [cut, flip, lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: path.write_text("[1]")],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_complaint(tmp_path, name, damage):
    for number in (1, 2):
        save_state(tmp_path, state(number))
    damage(tmp_path / "round-0002" / name)
    found, complaints = load_latest(tmp_path)
    assert_same(found, state(1))
    (complaint,) = complaints
    assert f"{tmp_path}/round-0002 is damaged" in complaint
    assert name in complaint


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
def test_any_single_flipped_bit_is_noticed(tmp_path, name):
    """Every bit in turn: the state is refused, or (blanks in the manifest) it is what was saved."""
    path = tmp_path / "round-0001" / name
    save_state(tmp_path, state(1))
    sound = path.read_bytes()
    missed = 0
    for bit in range(0, 8 * len(sound), 7):
        flip(path, bit)
        found, complaints = load_latest(tmp_path)
        if found is not None:
            assert_same(found, state(1))
            missed += 1
        assert (found is None) == (len(complaints) == 1)
        path.write_bytes(sound)
    assert missed == 0 if name != "manifest.json" else missed < 8
    assert load_latest(tmp_path)[1] == []


def test_when_all_are_damaged_every_one_is_complained_of(tmp_path):
    for number in (1, 2):
        save_state(tmp_path, state(number))
        flip(tmp_path / f"round-000{number}" / "state.safetensors")
    found, complaints = load_latest(tmp_path)
    assert found is None
    assert ["round-0002" in complaints[0], "round-0001" in complaints[1]] == [True, True]


@pytest.mark.parametrize("writes", range(6))
def test_a_save_that_dies_anywhere_leaves_the_one_before_and_can_be_repeated(tmp_path, monkeypatch, writes):
    """The process dies before or after the rename of any of the three files."""
    save_state(tmp_path, state(1))
    steps, replace = [], Path.replace

    def died(pending, target):
        steps.append("before")
        if len(steps) > writes:
            raise KeyboardInterrupt
        replace(pending, target)
        steps.append("after")
        if len(steps) > writes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", died)
        save_state(tmp_path, state(2))
    found, complaints = load_latest(tmp_path)
    whole = writes == 5  # after the rename of the last
    assert (found.round, len(complaints)) == ((2, 0) if whole else (1, 1))
    save_state(tmp_path, state(2))
    found, complaints = load_latest(tmp_path)
    assert complaints == []
    assert_same(found, state(2))
    assert not list(tmp_path.rglob("*.partial"))


def test_the_manifest_comes_last(tmp_path, monkeypatch):
    order, write = [], Storage.write
    monkeypatch.setattr(Storage, "write", lambda self, name, data: (order.append(name), write(self, name, data))[1])
    save_state(tmp_path, state(1))
    assert order[-1] == "manifest.json"
    assert set(order) == {"state.json", "state.safetensors", "manifest.json"}


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors", "manifest.json"])
@pytest.mark.parametrize("dump", [pickle.dump, torch.save])
def test_no_pickle_in_a_checkpoint_is_read(tmp_path, name, dump):
    save_state(tmp_path, state(1))
    folder, trap = tmp_path / "round-0001", tmp_path / "sprung"
    with (folder / name).open("wb") as file:
        dump(Trap(trap), file)
    data = (folder / name).read_bytes()
    if name != "manifest.json":  # signed: whoever wrote it wants it to be read
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    found, complaints = load_latest(tmp_path)
    assert found is None
    assert len(complaints) == 1
    assert not trap.exists()
    torch.load(io.BytesIO(data), weights_only=False) if dump is torch.save else pickle.loads(data)
    assert trap.exists()  # it was one


def test_a_folder_that_cannot_be_reached_says_nothing_about_what_it_holds(tmp_path, monkeypatch):
    """To take it for damaged would start the run over."""
    save_state(tmp_path, state(1))

    def unreachable(self, name):
        raise StorageFailed("connection refused")

    monkeypatch.setattr(Storage, "read", unreachable)
    with pytest.raises(StorageFailed):
        load_latest(tmp_path)
