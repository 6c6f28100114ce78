"""Run configs/demo.toml (or continue runs/demo), then write result.json and the table of README.md.

.venv/bin/python experiments/demo/run.py
"""

from pathlib import Path

from rich.console import Console

from policylearn.commands.card_of_run import comparison_lines
from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.report.write_up import write_up

if __name__ == "__main__":
    command = "policylearn train configs/demo.toml --out runs/demo"
    result = train(load_config("configs/demo.toml"), Path("runs/demo"), Console(), command=command)
    write_up(Path(__file__).parent, result, comparison_lines(result))
