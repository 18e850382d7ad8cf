"""Certificates for servers of tests, and who signs them."""

from __future__ import annotations

import datetime as dt
import hashlib
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

NAME: Final = "dns.example"
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A certificate, its key, both in PEM, and the pin of the key."""

    certificate: str
    key: str
    pin: str

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both into *folder*; return the paths."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_text(self.certificate, encoding="ascii")
        paths[1].write_text(self.key, encoding="ascii")
        return paths


class Authority:
    """Somebody who signs certificates; `pem` is who that is."""

    def __init__(self, name: str = "Authority of a test") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name_of(name)
        certificate = self._signed(self._name, self._key.public_key(), 3650, ca=True)
        self.pem = certificate.public_bytes(Encoding.PEM).decode()

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        days: int,
        *,
        ca: bool = False,
        names: tuple[str, ...] = (),
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * _DAY)
            .not_valid_after(now + days * _DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), ca)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(x) for x in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def identity(self, *names: str, days: int = 30) -> Identity:
        """Return a certificate for *names* that ends in so many *days*."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._signed(
            _name_of(names[0]), key.public_key(), days, names=names
        )
        public = key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return Identity(
            certificate.public_bytes(Encoding.PEM).decode(),
            key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ).decode(),
            "sha256/" + b64encode(hashlib.sha256(public).digest()).decode(),
        )


def _name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
