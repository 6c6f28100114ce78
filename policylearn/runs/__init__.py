"""A run on disk: its folder, the state after a round, what it was made from, and how it ends early in good order."""
