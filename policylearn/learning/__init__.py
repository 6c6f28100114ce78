"""A policy → a better one, in stages: expected credits in closed form, rounds of rollouts, or token targets."""
