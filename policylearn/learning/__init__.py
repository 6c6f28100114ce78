"""A policy → a better one: rounds of rollouts, or token targets."""
