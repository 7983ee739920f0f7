"""A model that cannot be loaded."""
