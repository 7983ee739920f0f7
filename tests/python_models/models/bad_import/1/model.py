"""A model that cannot be loaded."""

import numpyy  # noqa: F401
