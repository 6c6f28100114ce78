"""The differentiable problem: model, MLM loss and optimiser, and adaptation to the task."""
