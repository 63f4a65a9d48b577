"""How the stages are configured, joined and run, and the `graft` command."""
