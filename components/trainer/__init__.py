"""Trainer and Tuner: a new head on a frozen base's kept features, then optional fine-tuning."""
