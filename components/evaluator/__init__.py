"""Evaluator: what TFMA measures on the validation split, what the gate asks, and against which model."""
