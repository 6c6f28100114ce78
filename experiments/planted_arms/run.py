"""Every arm on the planted benchmark, ten paired seeds; writes result.json, trials.jsonl and the table of README.md.

.venv/bin/python experiments/planted/run.py difference-0 uniform-0 wrong-0    # learns the policies, half an hour
.venv/bin/python experiments/planted_arms/run.py                              # may be interrupted
"""

from pathlib import Path

from rich.console import Console

from policylearn.config import load_study
from policylearn.evaluation.study import run_study
from policylearn.report.study import study_lines
from policylearn.report.write_up import write_up

FOLDER, OUT = Path(__file__).parent, Path("runs/planted_arms")

if __name__ == "__main__":
    found = run_study(load_study(FOLDER / "study.toml", []), OUT, Console())
    write_up(FOLDER, found, study_lines(found))
    trials = (OUT / "planted" / "trials.jsonl").read_text(encoding="utf-8")
    (FOLDER / "trials.jsonl").write_text(trials, encoding="utf-8")
