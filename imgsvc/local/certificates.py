"""Certificates by which the parts of SeaweedFS know each other, and nobody else: its gRPC asks for nothing more."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from imgsvc.local.private import write_private
from imgsvc.local.process import EmbeddedError

_LIFETIME = timedelta(days=365 * 50)  # of the folder that they are in
_NAME = "imgsvc"


class Certificates(NamedTuple):
    """Files in PEM: who is believed, and what all parts of a server show."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def within(cls, folder: Path) -> "Certificates":
        """Those of a folder, made where they are not all there."""
        found = cls(folder / "grpc-ca.pem", folder / "grpc-cert.pem", folder / "grpc-key.pem")
        if not all(path.exists() for path in found):
            _make(found)
        return found


def _make(files: Certificates) -> None:
    try:  # at a folder's first start only: it takes a tenth of a second
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as error:
        raise EmbeddedError(
            "cryptography is not installed; the one-machine mode needs the extra `local`: pip install 'imgsvc[local]'"
        ) from error

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{_NAME} authority")])
    now = datetime.now(UTC)

    def begin(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=name,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=1),  # clocks are set back
            not_valid_after=now + _LIFETIME,
        )

    authority = begin(issuer, ca_key.public_key()).add_extension(x509.BasicConstraints(True, 0), critical=True)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    shown = begin(subject, key.public_key()).add_extension(usage, critical=False)
    # the authority's key is kept nowhere, so there is no third certificate, ever
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(files.ca, authority.sign(ca_key, hashes.SHA256()).public_bytes(pem).decode())
    write_private(files.cert, shown.sign(ca_key, hashes.SHA256()).public_bytes(pem).decode())
    write_private(files.key, private.decode())
