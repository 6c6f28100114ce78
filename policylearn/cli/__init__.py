"""The command line: train, pretrain, score, diagnose, evaluate, adapt, reproduce, inspect, export, average and
settings."""

from policylearn.cli.entry import app, main

__all__ = ["app", "main"]
