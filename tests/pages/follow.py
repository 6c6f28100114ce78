"""Do what pages say, step by step in one process and one folder, and note how each step ended.

python follow.py STEPS OUTCOMES, where STEPS is a JSON list of {"kind", "what"}: kind "policylearn" with the words of a
command, "script" with those behind `python`, "import" with a script that is only to be read, "python" with code.
OUTCOMES gets a list of what went wrong, "" where nothing did.
"""

import contextlib
import io
import json
import runpy
import sys
import time
import traceback
from pathlib import Path

from policylearn import cli


def command(words: list[str]) -> None:
    """`policylearn …`, as a shell would run it."""
    sys.argv = words
    try:
        cli.main()
    except SystemExit as ending:
        if ending.code:
            raise RuntimeError(f"exit status {ending.code}") from None


def script(words: list[str], name: str = "__main__") -> None:
    """`python FILE …`, with the modules that lie beside FILE, which are forgotten again."""
    sys.argv, known = words, set(sys.modules)
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    try:
        runpy.run_path(words[0], run_name=name)
    finally:
        beside = sys.path.pop(0)
        for module in set(sys.modules) - known:
            if str(getattr(sys.modules[module], "__file__", None)).startswith(beside):
                del sys.modules[module]


def snippet(code: str) -> None:
    """Python as it would be pasted."""
    exec(compile(code, "<page>", "exec"), {"__name__": "__main__"})


DO = {"policylearn": command, "script": script, "import": lambda file: script([file], "read"), "python": snippet}


def follow(kind: str, what: list[str] | str) -> str:
    """What a step said, and its traceback, if it failed; else nothing."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            DO[kind](what)
    except Exception:
        return said.getvalue() + traceback.format_exc()
    return ""


def main(steps: Path, outcomes: Path) -> None:
    done, began = [], time.monotonic()
    for step in json.loads(steps.read_text(encoding="utf-8")):
        done.append(follow(step["kind"], step["what"]))
        print(
            f"{time.monotonic() - began:6.1f} s  {'FAILED ' if done[-1] else ''}{str(step['what'])[:110]!r}", flush=True
        )
    outcomes.write_text(json.dumps(done), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
