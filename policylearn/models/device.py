"""Which device models are on, and that it gives the same bits every time."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from policylearn.config import ClusterConfig, Config

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def device_of(config: ClusterConfig) -> str:
    """Where a worker computes.

    Raises:
        ValueError: workers are to have GPUs, and there is none here.
    """
    if not config.gpus:
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError(f"cluster.gpus is {config.gpus:g}, and torch sees no GPU here; set it to 0 for the CPU")
    return "cuda"


def device_here(config: ClusterConfig) -> str:
    """Where a process that is no worker computes what is part of the run: as workers do, if it sees a GPU too."""
    return "cuda" if config.gpus and torch.cuda.is_available() else "cpu"


def without_gpus(config: Config) -> Config:
    """The same, computed on the CPU."""
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"gpus": 0.0})})


def be_the_worker(config: ClusterConfig) -> None:
    """Compute with a worker's threads from the beginning, wherever workers are: sums over another number of them differ
    in the last bit, and so would scores, keys of trials, and what a run comes to that goes on."""
    torch.set_num_threads(config.threads)


def slow_bf16(setting: str) -> str:
    """What to tell who computes in bf16 on this processor, by the setting that asks for it; empty where all is well.

    Processors of the x86 family without AVX-512 or what came after it have no matrix product in bf16: torch goes
    through it number by number there (its own check is `mkldnn_bf16_device_check`).
    """
    known = torch.backends.mkldnn.is_available() and platform.machine() in ("x86_64", "AMD64")
    if not known or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return ""
    return f"this processor has no bf16, which takes many times as long as float32 here: set {setting}=false"


def add_in_one_order() -> None:
    """Sums on a GPU that come to the same bits every time, wherever torch has them."""
    if not os.environ.get(WORKSPACE):  # one that is set but empty is none
        os.environ[WORKSPACE] = ":4096:8"
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # would take time


@contextmanager
def order_as_it_was() -> Iterator[None]:
    """After it nothing is left of what `add_in_one_order` sets within."""
    ordered, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills, workspace = torch.utils.deterministic.fill_uninitialized_memory, os.environ.get(WORKSPACE)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(ordered, warn_only=warns)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        os.environ.pop(WORKSPACE, None)
        os.environ.update({} if workspace is None else {WORKSPACE: workspace})


def twice_differentiable() -> AbstractContextManager[None]:
    """Where a model that is loaded with torch's fused attention, which has neither second derivatives nor forward mode,
    takes the plain one. A model with eager attention is as it was."""
    return sdpa_kernel(SDPBackend.MATH)


def give_memory_back() -> None:
    """Return to the system what the C library keeps of memory that was freed. Tensors of ever other sizes leave holes
    that none fits into, more of them with every batch. Nothing is done where the library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
