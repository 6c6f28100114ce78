"""Run scripts, each in processes of its own, and keep what their models were given.

python recorded.py JOBS, a JSON file: [{"script": path, "arguments": [...], "ranks": 1 or more, "out": folder}, …].
In every `out` there are then rank0.pt, rank1.pt, …: the batches in the order in which a BERT saw them.

Jobs are forked from this process, which has imported what all of them need: that takes longer than they do.
"""

import functools
import json
import os
import runpy
import socket
import sys
from multiprocessing import get_context
from pathlib import Path

import accelerate  # noqa: F401  imported for the jobs
import torch
from transformers import AutoModelForMaskedLM, BertForMaskedLM, Trainer  # noqa: F401

import policylearn.collator
import policylearn.trainers.huggingface  # noqa: F401


def keep_batches(seen: list[dict]) -> None:
    """Append what every BERT is given from now on."""
    forward = BertForMaskedLM.forward

    @functools.wraps(forward)
    def watched(self, *args, **batch):
        seen.append({name: batch[name].clone() for name in ("input_ids", "attention_mask", "labels")})
        return forward(self, *args, **batch)

    BertForMaskedLM.forward = watched


def run(job: dict, rank: int, port: int) -> None:
    """One script as `python script …` would run it, or, as one of several processes, `accelerate launch --cpu`."""
    if job["ranks"] > 1:
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["ranks"], "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in group.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    seen: list[dict] = []
    keep_batches(seen)
    sys.argv = [job["script"], *job["arguments"]]
    runpy.run_path(job["script"], run_name="__main__")
    torch.save(seen, Path(job["out"]) / f"rank{rank}.pt")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def main(jobs: list[dict]) -> None:
    fork = get_context("fork")
    for job in jobs:
        port = free_port()
        processes = [fork.Process(target=run, args=(job, rank, port)) for rank in range(job["ranks"])]
        for process in processes:
            process.start()
        for process in processes:
            process.join()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
