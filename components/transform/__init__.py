"""Transform: one graph from a file's bytes to what the base expects, and from labels to rows."""
