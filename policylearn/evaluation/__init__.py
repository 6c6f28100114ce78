"""Does a policy help? Fresh models trained under every arm's masks, everything else being equal, and what that shows.

trial.py        one arm on one seed: continued pretraining, then the label task
pretraining.py  the first half: an ordinary MLM training under a frozen policy
                (multitask.py: beside which it sees labels)
                (the second is in adapt/: a probe on frozen features, fine-tuning, or masks of the weights)
identity.py     what a trial depends on, as one key: a trial with that key is never run again
plan.py         what is to be run, and how long it will take
compare.py      the trials of all arms and seeds of a task, on the pool
study.py        several tasks
summary.py      scores, paired differences, budgets; pooling.py: averaged over tasks
statistics.py   intervals, tests, power
"""
