"""The same pipeline on Kubeflow Pipelines: compiled, run in containers, submitted and scheduled."""
