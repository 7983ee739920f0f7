"""Whether the files of TLS can be used, before anything is started."""

from __future__ import annotations

from pyserver.settings import Settings


class TlsError(Exception):
    """A certificate or key cannot be used; the text names the file and the cause."""


def check_tls_files(settings: Settings) -> None:
    """Reads what the frontends will read. Raises TlsError."""
    for protocol in ("http", "grpc"):
        files = settings.tls(protocol)
        if files is None:
            continue
        # Imported by those who need it: without TLS the supervisor stays small.
        from pyserver._core import TlsContext

        try:
            TlsContext(
                files.certificate,
                files.key,
                root_path=files.root,
                verify_client=bool(files.root),
            )
        except Exception as error:
            raise TlsError(f"TLS for {protocol}: {error}") from error
