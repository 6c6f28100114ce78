"""Policies learned from tokens that are known to be worth masking, instead of through meta-gradients: answers to
questions (Ye et al., EMNLP 2021), or words that a classifier needs (Train No Evil, Gu et al., EMNLP 2020)."""
