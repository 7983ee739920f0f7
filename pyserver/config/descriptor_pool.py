"""The private protobuf pool of our generated stubs.

`tritonclient` registers `model_config.proto` and `inference.ModelConfig` in protobuf's default
pool, and a user's model may import it inside a process of ours. Names are unique only within one
pool, so ours live in their own. `tools/make_protos.py` makes the stubs import this module where the
generator would use protobuf's.
"""

from __future__ import annotations

from typing import Final

from google.protobuf import descriptor_pool

_POOL: Final = descriptor_pool.DescriptorPool()


def Default() -> descriptor_pool.DescriptorPool:
    """The pool of every message of ours; the generated code calls it by this name."""
    return _POOL
