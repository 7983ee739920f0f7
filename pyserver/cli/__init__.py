"""The `pyserver` command: flags to settings, then the supervisor."""
