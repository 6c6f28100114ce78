"""What is most wanted next, until the time is up, for a machine that is lent for a while. Several may run at once.

python experiments/claim/worker.py SECONDS             # recipes first, then the comparison of tasks that have one
python experiments/claim/worker.py SECONDS compare     # the comparison alone
python experiments/claim/worker.py SECONDS second      # the second one, which needs no recipe
"""

import argparse
import time

import recipe
import run
from arms import CLAIM, SECOND
from tasks import TASKS

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float)
    parser.add_argument("comparison", nargs="?", choices=["compare", "second"])
    given = parser.parse_args()
    until = time.time() + given.seconds
    if given.comparison is None:
        recipe.main(until, list(TASKS))
    run.main(until, SECOND if given.comparison == "second" else CLAIM, list(TASKS))
