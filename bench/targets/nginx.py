"""nginx as the limit of what an HTTP frontend can do: it discards the request and answers with a
constant, the bytes of the right answer to a small binary inference.

It comes from Debian, whose package is unpacked and not installed, so that no web server is started
on this machine; it runs as whoever starts it, from a folder of its own, with one worker.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import kserve
from bench.deployment import Deployment
from bench.targets.environment import installer, unpack_debian
from bench.targets.process import Ports, ServerProcess
from bench.workload import Request, Wire, Workload

_MODELS = frozenset({"identity", "python_identity"})
_ELEMENTS = 16
_HEAD = (
    b'{"model_name":"identity","model_version":"1","outputs":[{"name":"OUTPUT0",'
    b'"datatype":"FP32","shape":[1,16],"parameters":{"binary_data_size":64}}]}'
)
ANSWER = _HEAD + struct.pack("<16f", *range(_ELEMENTS))
# The quotes of the answer are escaped; of what else the configuration would read in it, `$` and
# `\\`, these floats have none.
_CONFIGURATION = b"""\
daemon off;
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location / {
      add_header Inference-Header-Content-Length %(head)d;
      return 200 "%(answer)s";
    }
  }
}
"""


def home() -> Path:
    return Path(os.environ.get("PYSERVER_NGINX_HOME", "/tmp/bench-nginx"))


def binary() -> str | None:
    """What `install` has unpacked, or the system's, which is where only root's PATH looks."""
    path = f"{home() / 'usr' / 'sbin'}:{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    return shutil.which("nginx", path=path)


def install() -> None:
    home().mkdir(parents=True, exist_ok=True)
    unpack_debian("nginx", home())


class Nginx(ServerProcess):
    name = "nginx"
    install = "python -m bench.targets.nginx install"
    ready_path = "/"

    @classmethod
    def installed(cls) -> bool:
        return binary() is not None

    @classmethod
    def version(cls) -> str:
        found = binary()
        if found is None:
            return ""
        said = subprocess.run([found, "-v"], capture_output=True, text=True, check=True).stderr
        return said.strip().rpartition("/")[2]

    def lay_out(self, deployment: Deployment, folder: Path) -> tuple[Path, Sequence[str]]:
        deployment.served(_MODELS)
        return folder, ()

    def request(self, workload: Workload) -> Request | None:
        if workload.model not in _MODELS or workload.elements != _ELEMENTS:
            return None
        return kserve.request(workload) if workload.wire is Wire.BINARY else None

    def command(self, model_repository: Path, ports: Ports, extra: Sequence[str]) -> list[str]:
        """Writes the configuration too, which has the port."""
        found = binary()
        if found is None:
            raise FileNotFoundError(f"no nginx: run `{self.install}`")
        file = model_repository / "nginx.conf"
        file.write_bytes(
            _CONFIGURATION
            % {
                b"folder": os.fsencode(model_repository),
                b"port": ports.http,
                b"head": len(_HEAD),
                b"answer": ANSWER.replace(b'"', b'\\"'),
            }
        )
        return [found, "-p", str(model_repository), "-c", str(file), *extra]

    def environment(self) -> Mapping[str, str]:
        return os.environ


if __name__ == "__main__":
    installer("nginx", install, home())
