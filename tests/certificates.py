"""Certificates that tests make: an authority, and what it signs."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates, as files NAME.pem and NAME.key of a folder; its own is authority.pem."""

    def __init__(self, folder):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._write("authority", self._key, hours=24)

    def sign(self, name, hours=1):
        """A certificate for 127.0.0.1 under a name, good for so many hours; replaces the files that are there."""
        self._write(name, ec.generate_private_key(ec.SECP256R1()), hours)
        return self

    def _write(self, name, key, hours):
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=hours))
            .add_extension(x509.BasicConstraints(ca=name == "authority", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for suffix, data in (("pem", certificate.public_bytes(serialization.Encoding.PEM)), ("key", private)):
            new = self.folder / f"{name}.{suffix}.new"
            new.write_bytes(data)
            new.replace(self.folder / f"{name}.{suffix}")
