"""Trainer: a new head on a frozen base, on features computed once, then optional fine-tuning."""
