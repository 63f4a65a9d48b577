"""Evaluator: what TFMA measures on validation, what the gate asks, and against which model."""
