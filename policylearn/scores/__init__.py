"""Scorers: what a heuristic thinks a token is worth, one real score per token type and per word.

counting.py   one pass over a corpus of any size
sources.py    Sources, what a scorer reads; each corpus is counted once
registry.py   scores by the name of a scorer, and how to add one
the others    a family of scorers each
"""
