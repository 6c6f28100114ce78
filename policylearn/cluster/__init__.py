"""Where rollouts run and how a run survives: the pool of workers and the checkpoints of the outer state."""
