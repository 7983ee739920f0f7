"""Every target by its name: the servers that are compared, and the limits of what one could do."""

from __future__ import annotations

from collections.abc import Mapping

from bench.targets.litserve import LitServe
from bench.targets.mlserver import MLServer
from bench.targets.mosec import Mosec
from bench.targets.nghttpd import Nghttpd
from bench.targets.nginx import Nginx
from bench.targets.onnxruntime_direct import OnnxruntimeDirect
from bench.targets.process import ServerProcess
from bench.targets.pyserver import Pyserver
from bench.targets.triton import Triton

TARGETS: Mapping[str, type[ServerProcess]] = {
    "pyserver": Pyserver,
    "triton": Triton,
    "mlserver": MLServer,
    "litserve": LitServe,
    "mosec": Mosec,
    "nginx": Nginx,
    "nghttpd": Nghttpd,
    "onnxruntime": OnnxruntimeDirect,
}
