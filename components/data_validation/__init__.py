"""The data gate: decides whether what was ingested is fit to train on."""
