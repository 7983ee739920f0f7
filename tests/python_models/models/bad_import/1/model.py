"""A model that cannot be loaded."""

import numpyy
