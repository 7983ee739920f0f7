"""An inference server that speaks NVIDIA Triton's protocols; ARCHITECTURE.md is the map.

Importing the package does nothing: each role (cli, supervisor, frontend, core, instance) imports
only what it needs.
"""

__version__ = "0.1.0"
