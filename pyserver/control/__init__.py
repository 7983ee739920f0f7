"""The control plane's outside: control sockets, operations and the stock HTTP application.

Nothing is imported here: small processes import `pyserver.control.channel` alone.
"""
