"""A policy → a better one, in stages: expected credits in closed form, how strongly scores are followed, rounds of
rollouts, or token targets."""
