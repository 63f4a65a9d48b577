"""The model gate: whether the new model may be served, in words that a person can check."""
