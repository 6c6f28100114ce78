"""What is most wanted next, until the time is up, for a machine that is lent for a while. Several may run at once.

python experiments/claim/worker.py SECONDS             # recipes first, then the comparison of tasks that have one
python experiments/claim/worker.py SECONDS compare     # the comparison alone
python experiments/claim/worker.py SECONDS second      # the second one, which needs no recipe
"""

import sys
import time

import recipe
import run
from arms import CLAIM, SECOND
from tasks import TASKS

if __name__ == "__main__":
    until = time.time() + float(sys.argv[1])
    if not sys.argv[2:]:
        recipe.main(until, list(TASKS))
    run.main(until, SECOND if "second" in sys.argv[2:] else CLAIM, list(TASKS))
