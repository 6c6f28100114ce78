"""How θ is put to use for the task: differentiably, in an outer loss, and to the end, in an evaluation."""
