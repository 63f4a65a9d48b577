"""What a cluster has in place of TFX's resolvers: the served model and its statistics, copied."""
