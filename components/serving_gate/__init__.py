"""The serving gate: whether the exported model answers a client as it was evaluated."""
