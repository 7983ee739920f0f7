"""Ends at once."""

import os

os._exit(7)
