import platform

import pytest
import torch

from policylearn.models.device import be_the_worker, slow_bf16
from policylearn.problems.of_config import problem_of


@pytest.fixture
def processor(monkeypatch):
    """`processor(has_bf16)`: pretend to be on one of the x86 family."""

    def pretend(has_bf16: bool, machine: str = "x86_64") -> None:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)

    return pretend


def test_a_processor_without_bf16_is_named_with_the_setting(processor):
    processor(has_bf16=False)
    assert slow_bf16("pretrain.bf16").endswith("set pretrain.bf16=false")
    processor(has_bf16=True)
    assert slow_bf16("pretrain.bf16") == ""
    processor(has_bf16=False, machine="aarch64")  # torch asks others otherwise: nothing is known of them
    assert slow_bf16("pretrain.bf16") == ""


@pytest.mark.parametrize(
    ("settings", "says"), [(["model.bf16=true"], True), ([], False), (["model.bf16=true", "cluster.gpus=1"], False)]
)
def test_a_problem_says_so_once(processor, tiny, settings, says):
    processor(has_bf16=False)
    told = list[str]()
    problem_of(tiny(*settings), tell=told.append).check()
    assert sum("has no bf16" in line for line in told) == says


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_what_is_scored_beside_workers_has_their_threads_wherever_they_are(tiny, backend):
    before = torch.get_num_threads()
    try:
        be_the_worker(tiny(f"cluster.backend={backend}", f"cluster.threads={before + 1}").cluster)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
