"""The inner problem: MLM loss, optimiser, the stream of masked batches, and a training on its way."""
