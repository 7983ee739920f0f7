"""The instance role: one process that holds instances of one model version and executes them."""
