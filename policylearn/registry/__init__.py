"""What a config chooses by name: ours, imported when asked for, and what other distributions bring along.

Another distribution brings a scorer by an entry point of the group `policylearn.scorers`, in its pyproject.toml:

    [project.entry-points."policylearn.scorers"]
    length = "their_package.scorers:length"

From then on `length` is a scorer like ours. So it is with every kind in `known.py`.

Of five kinds a module of one's own may bring one by a decorator, `@policylearn.scorer("length")`, and likewise `task`,
`metric`, `objective` and `estimator`; a config names the module in `imports`, so that workers import it as well.

registry.py   names and the things they stand for
known.py      a table for every kind of thing, and what others have added to them
"""
