"""Continued pretraining for use: `Trainer` under the masks of a policy, into a plain checkpoint."""
