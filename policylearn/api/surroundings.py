"""What a call sets for the whole process while it works, and leaves as it was: it is a guest in somebody's notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from transformers.utils import logging

from policylearn.data.hub import no_progress_bars
from policylearn.models.device import order_as_it_was

Given = ParamSpec("Given")
Result = TypeVar("Result")


def undisturbed(call: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function of which nothing is left in the process: see `surroundings`. It is quiet where it has `quiet=True`."""

    @wraps(call)
    def called(*given: Given.args, **named: Given.kwargs) -> Result:
        with surroundings(quiet=bool(named.get("quiet"))):
            return call(*given, **named)

    return called


@contextmanager
def surroundings(quiet: bool) -> Iterator[None]:
    """Within, tensors are made and models compute in single precision, and gradients are taken; bars of `datasets` are
    off, if `quiet`. After that all is as it was, with the number of torch's threads, which a pool sets, how sums are
    taken, and the bars of transformers."""
    threads, dtype, bars = torch.get_num_threads(), torch.get_default_dtype(), logging.is_progress_bar_enabled()
    torch.set_default_dtype(torch.float32)
    try:
        bars_of_data_sets = no_progress_bars() if quiet else nullcontext()
        on_cpu, on_gpu = (torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda"))
        with torch.inference_mode(False), torch.enable_grad(), on_cpu, on_gpu, order_as_it_was(), bars_of_data_sets:
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
