"""The inner problem: objectives, steps, windows of them, the stream of masked batches, and a training on its way."""
