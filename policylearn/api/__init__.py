"""policylearn from Python: what the commands do, with objects in and objects out."""
