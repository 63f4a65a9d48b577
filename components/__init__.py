"""What the pipeline's stages do, one folder a stage, in data-flow order.

Nothing here imports from `pipeline`; the pure modules know nothing of TFX.
"""
