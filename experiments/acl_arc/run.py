"""Run configs/acl_arc.toml (or continue runs/acl_arc), then write result.json and the table of README.md.

.venv/bin/python experiments/acl_arc/run.py
"""

from pathlib import Path

from rich.console import Console

from policylearn.commands.card_of_run import comparison_lines
from policylearn.commands.train import train
from policylearn.config import load_config
from policylearn.report.write_up import write_up

if __name__ == "__main__":
    command = "policylearn train configs/acl_arc.toml --out runs/acl_arc"
    result = train(load_config("configs/acl_arc.toml"), Path("runs/acl_arc"), Console(), command=command)
    write_up(Path(__file__).parent, result, comparison_lines(result))
