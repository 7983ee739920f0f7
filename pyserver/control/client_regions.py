"""Shared memory of clients, the same for both protocols: it is off, which is Triton's default.

There are no regions, and registering is refused with the text for a server that has it switched
off.
"""

from __future__ import annotations

from typing import NoReturn

from pyserver.errors import NotFoundError, UnsupportedError
from pyserver.settings import Settings


def refuse_unknown(kind: str, name: str) -> NoReturn:
    """`kind` is "system" or "cuda"."""
    raise NotFoundError(f"Unable to find {kind} shared memory region: '{name}'")


def refuse_change(settings: Settings) -> NoReturn:
    """Nothing can be registered, nor unregistered."""
    if settings.allow_client_shm:
        raise UnsupportedError("Client shared memory is not part of this version of pyserver.")
    raise UnsupportedError(
        "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to"
        " enable."
    )
