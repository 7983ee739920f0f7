"""The frontend role: one C++ event loop between the clients' sockets and core.

`__main__.py` is the process, `link.py` what the supervisor and core say to it. Inference itself is
in csrc/gateway. Nothing heavier than the standard library is imported here.
"""
