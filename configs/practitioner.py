"""From a table of labelled texts to a model that was trained further for them.

python configs/practitioner.py [CSV] [MODEL] [OUT], or cell by cell in a notebook. The CSV has columns text and label.
"""

# %% What you have: a CSV, and a masked language model of the Hub or in a folder.
import csv
import sys

import policylearn as pl

GIVEN = ["my/task.csv", "distilbert/distilbert-base-uncased", "runs/practitioner"]
words = [] if "ipykernel" in sys.modules else sys.argv[1:4]  # in a notebook they are those of its kernel
CSV, MODEL, OUT = [*words, *GIVEN[len(words) :]]
with open(CSV, newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))
texts = [row["text"] for row in rows]  # better: many more, of the kind, without labels

# %% Is there a signal in the labels? Minutes that may save hours.
print(pl.diagnose(MODEL, CSV, texts, settings={"credit.batches": 12}).verdict)

# %% Learn which words are worth masking. Dev and test rows are carved off, if the data have none.
run = pl.learn(MODEL, CSV, texts, out=OUT)
print(run.policy.show(texts[:2]))

# %% Is it worth it? Fresh models, on test rows that nobody has seen. On few rows differences are noise: see `found`.
found = run.evaluate(arms=["none", "random", "learned"], seeds=2)
print(found)

# %% The model. In a trainer of your own: `PolicyCollator(run.policy, tokenizer)` as its data_collator. Or by a command:
print(f"policylearn pretrain {OUT}/config.json --policy {OUT} --out {OUT}/model")
