"""What predicting a token is worth for the task: credits along a training, and how far those of two halves agree."""
