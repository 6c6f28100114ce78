"""What a run looks like to a person: progress and tables in the terminal, heatmaps, one HTML page.

Nothing here but ``pictures``, which draws by a policy, and ``console_watch``, through which the package shows its work,
knows the rest of the package: every function is fed plain data (token strings, floats, the dicts of ``metrics.jsonl``
and ``result.json``). Import what you need from its module: ``heatmap`` and ``console`` need rich only, ``page`` and
``study_page`` also need jinja2 and matplotlib.
"""
