"""`policylearn` and `python -m policylearn`: the command line, or a word on what it needs."""

import sys


def main() -> None:
    """Run the command line; where a package of the `train` extra is missing, say so."""
    try:
        from policylearn.cli import main as run

        run()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("policylearn"):
            raise
        sys.exit(f"this command needs {error.name}: pip install 'policylearn[train]'")


if __name__ == "__main__":
    main()
