"""The differentiable problem of a config: all a rollout needs besides the policy."""
