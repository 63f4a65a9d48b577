"""Transform: one graph that turns a file's bytes into what the base expects, and labels into rows."""
