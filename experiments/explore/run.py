"""Fully-Explored masking (Zheng et al., 2020): its theorem, and its claim at equal forward passes. Writes
gradients.jsonl and trials.jsonl as it goes, then result.json and the tables.

.venv/bin/python experiments/explore/run.py           # what is missing; may be stopped
.venv/bin/python experiments/explore/run.py --table   # from what there is
"""

import gradients
import torch
import trainings
from settings import FOLDER, MODELS

from policylearn.report.write_up import asked_for, read_lines, write_up


def main() -> None:
    torch.set_num_threads(1)
    if not asked_for(__doc__).table:
        for model in MODELS:
            gradients.measure(model)
        trainings.run_missing()
    found = {"gradients": read_lines(gradients.LINES), "trials": len(read_lines(trainings.LINES))}
    write_up(FOLDER, found, [*gradients.table(), *trainings.tables()])


if __name__ == "__main__":
    main()
