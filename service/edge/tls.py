"""Server TLS: contexts built from files, and rebuilt when the files change."""

import logging
import ssl
from pathlib import Path

from service.config import Tls

logger = logging.getLogger(__name__)


class TlsFiles:
    """What a server shows and asks for, as its files say now."""

    def __init__(self, files: Tls) -> None:
        """Raises OSError (ssl.SSLError among it) where the files are not what they should be."""
        self._files = files
        self._stamps = self._stat()
        self.context = self._load()

    def refresh(self) -> None:
        """Reads the files again if they have changed. Those that are at fault change nothing, and the log says so."""
        try:
            stamps = self._stat()
            if stamps == self._stamps:
                return
            self._stamps = stamps  # whatever comes of it: the log is to say it once
            self.context = self._load()
        except OSError as error:
            logger.error("certificates were not reloaded; the previous ones stay in use: %s", error)
        else:
            logger.info("certificates were reloaded")

    def _stat(self) -> tuple[tuple[int, int], ...]:
        found = [path.stat() for path in self._paths()]
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in found)

    def _paths(self) -> list[Path]:
        files = self._files
        return [path for path in (files.certificate, files.key, files.client_authority) if path is not None]

    def _load(self) -> ssl.SSLContext:
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.load_cert_chain(files.certificate, files.key)
        context.set_alpn_protocols(["h2"])
        if files.client_authority is not None:
            context.load_verify_locations(files.client_authority)
            context.verify_mode = ssl.CERT_OPTIONAL if files.client_optional else ssl.CERT_REQUIRED
        return context


def certificate_name(sock: ssl.SSLSocket) -> str:
    """The name that a peer's certificate proves: its first DNS or other name, else its common name; empty: none."""
    found = sock.getpeercert() or {}
    names = [str(pair[1]) for pair in found.get("subjectAltName", ()) if pair[0] in ("DNS", "URI", "email")]
    subject = [str(pair[1]) for part in found.get("subject", ()) for pair in part if pair[0] == "commonName"]
    return next(iter(names + subject), "")
