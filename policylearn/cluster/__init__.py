"""Where work runs: calls and their results, the schedule, and the pool of workers, in this process or on Ray."""
