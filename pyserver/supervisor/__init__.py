"""Starts the other processes, watches them, restarts them, and stops them; no tensor passes it.

Imports neither numpy nor asyncio nor any role: roles are started by their dotted names.
"""
