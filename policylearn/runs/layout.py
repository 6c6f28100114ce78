"""The run directory, on this disk or in a bucket: what a run leaves behind, and what it is called.

config.json       every setting, resolved            checkpoints/   the state of learning, newest few
metrics.jsonl     one line per finished round        trials.jsonl   one line per finished fresh model
prior/            the policy before learning         policy/        the exported policy
expected/         checkpoints of the credits' sums, and the policy that follows from them; strength/
                  and outcomes/ likewise
result.json       the comparison; written last       report.html    all of it to look at
policies.json     where policies that were given came from; tensorboard/, if that was asked for
contents.json     what the files of task, corpora and models held, in short
inputs/           what was given as objects, written before the run begins
"""

CONFIG, METRICS, TRIALS, RESULT = "config.json", "metrics.jsonl", "trials.jsonl", "result.json"
REPORT, CHECKPOINTS, CONTENTS, POLICY = "report.html", "checkpoints", "contents.json", "policy"
BEGUN_IN = "begun in"
"""Key of contents.json: the folder that relative places are of."""
PRIOR, EXPECTED, STRENGTH, OUTCOMES = "prior", "expected", "strength", "outcomes"
"""Folders of the policies that a stage of learning starts from."""
LEARNING = (CHECKPOINTS, EXPECTED, STRENGTH, OUTCOMES)
"""What learning keeps on its way."""
GIVEN = "policies.json"
"""Of a comparison alone, which learns nothing."""
LEFT_BEHIND = (
    METRICS,
    TRIALS,
    GIVEN,
    CONTENTS,
    RESULT,
    REPORT,
    *LEARNING,
    PRIOR,
    POLICY,
    "tensorboard",
    CONFIG,  # last: what is left of a folder cleared halfway is still known as a run
)
INPUTS = "inputs"
"""Folder of data and models that came as objects."""
PROGRESS = (*LEARNING, TRIALS, RESULT)
"""What is worth keeping; a run that stopped before any of it makes room for one with other settings."""


def inside(folder: str, name: str) -> str:
    """Where something is in a run, of a stage with a folder of its own or, without one, of the run itself."""
    return f"{folder}/{name}" if folder else name
