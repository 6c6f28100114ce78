"""The same experiment on a Ray cluster: the one of RAY_ADDRESS, else one that is started here.

python configs/cluster.py [OUT], or cell by cell in a notebook. On a cluster, OUT is a place that all machines see.
"""

# %% Settings say where work runs. Everything else is as in one process, to the last bit on CPUs of one kind.
import sys

import policylearn as pl

words = [] if "ipykernel" in sys.modules else sys.argv[1:]  # in a notebook they are those of its kernel
OUT = words[0] if words else "runs/cluster"
cluster = {"cluster.backend": "ray", "cluster.workers": 2, "cluster.threads": 1}  # "cluster.gpus": 1 for a GPU each
short = {"planted.documents": 400, "planted.dev": 100, "planted.test": 200, "inner.steps": 20, "credit.batches": 4}

# %% Workers that are lost are replaced, and this cell run again goes on where it was stopped.
run = pl.learn(out=OUT, settings=cluster | short | {"evaluate.seeds": 2, "evaluate.arms": ["random", "learned"]})
print(run.result["learned"], {arm: found["scores"] for arm, found in run.result["arms"].items()})

# %% Parts of your own travel by the name of their module: `import parts` here, and parts.py where workers find it
# (in this folder, or with `ray job submit --working-dir .`). See configs/cluster/README.md for all the rest.
