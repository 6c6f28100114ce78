"""Run scripts of configs/trainers, each in processes of its own, and keep what their models were given.

python recorded.py FOLDER POLICY, where FOLDER has model/, texts.txt and scripts.json: {name: [script, processes], …}.
FOLDER/name then holds what the script wrote, and rank0.pt, rank1.pt, …: the batches in the order a BERT saw them.

Scripts are forked from this process, which has imported what all of them need: that takes longer than they do.
"""

import functools
import json
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path

import accelerate  # noqa: F401  imported for the jobs
import torch
from torch.multiprocessing.spawn import ProcessException, start_processes
from transformers import AutoModelForMaskedLM, BertForMaskedLM, Trainer  # noqa: F401

import policylearn.collator.policy_collator
import policylearn.trainers.huggingface  # noqa: F401

SCRIPTS = Path(__file__).parents[2] / "configs" / "trainers"


def keep_batches(seen: list[dict]) -> None:
    """Append what every BERT is given from now on."""
    forward = BertForMaskedLM.forward

    @functools.wraps(forward)
    def watched(self, *args, **batch):
        assert self.training, "a model from `from_pretrained` has no dropout"
        seen.append({name: batch[name].clone() for name in ("input_ids", "attention_mask", "labels") if name in batch})
        return forward(self, *args, **batch)

    BertForMaskedLM.forward = watched


def run(rank: int, script: str, folder: Path, policy: str, out: Path, processes: int, port: int) -> None:
    """One script as `python script …` would run it, or, as one of several processes, `accelerate launch --cpu`."""
    if processes > 1:
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in group.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    seen: list[dict] = []
    keep_batches(seen)
    path, given = str(SCRIPTS / f"{script}.py"), {"model": folder / "model", "texts": folder / "texts.txt"}
    options = {**given, "policy": policy, "out": out}
    sys.argv = [path, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    runpy.run_path(path, run_name="__main__")
    torch.save(seen, out / f"rank{rank}.pt")


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def main(folder: Path, policy: str) -> None:
    for name, (script, processes) in json.loads((folder / "scripts.json").read_text()).items():
        job = (script, folder, policy, folder / name, processes, free_port())
        try:
            start_processes(run, job, processes, start_method="fork")  # where one fails the others are ended
        except ProcessException:
            traceback.print_exc()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
