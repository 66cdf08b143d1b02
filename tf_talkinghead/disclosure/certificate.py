"""Key and certificate that manifests are signed with: the operator's own, or a local self-made one.

A local one is made once, in the user's configuration folder. It shows that a file is unchanged
since it was signed; validators call its signer unknown, since nobody vouches for it.
"""

import dataclasses
import datetime
import os
import pathlib
import re
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tf_talkinghead import files
from tf_talkinghead.errors import InputError

# Environment variables that name PEM files, where no flag does.
CERTIFICATE_VARIABLE, KEY_VARIABLE = "TALKINGHEAD_SIGN_CERT", "TALKINGHEAD_SIGN_KEY"
_NAME = "tf_talkinghead local signer"
_YEARS = 10
_ANY_KEY = "(?:[A-Z]+ )?PRIVATE KEY"


@dataclasses.dataclass(frozen=True)
class Signer:
    """The certificates and private key that manifests are signed with.

    Attributes:
      certificates: PEM, the signer's certificate first, then those it is signed by.
      key: PEM of the private key.
      algorithm: C2PA's name of the signature algorithm.
      local: whether the certificate is the self-made one of this machine.
      made: the file of the self-made certificate if this call created it, else None.
    """

    certificates: bytes
    key: bytes
    algorithm: str
    local: bool = False
    made: pathlib.Path | None = None


def signer(certificate=None, key=None) -> Signer:
    """The signer of two PEM files, of those that the environment names, or the local one.

    Args:
      certificate, key: paths of PEM files; None: CERTIFICATE_VARIABLE and KEY_VARIABLE, and where
        these are not set either, the local certificate, made at the first use.

    Raises:
      InputError: one file without the other, files that are no key or no certificate or do not
        belong together, or the local certificate cannot be written.
    """
    certificate = certificate or os.environ.get(CERTIFICATE_VARIABLE)
    key = key or os.environ.get(KEY_VARIABLE)
    if bool(certificate) != bool(key):
        raise InputError(
            "signing needs both --sign_cert and --sign_key (or "
            f"{CERTIFICATE_VARIABLE} and {KEY_VARIABLE}), got one of them"
        )
    if certificate:
        return _read(pathlib.Path(certificate), pathlib.Path(key))
    path = _local_file()
    made = None if path.exists() else path
    if made:
        _write_secret(path, b"".join(_make()))
    return dataclasses.replace(_read(path, path), local=True, made=made)


def _local_file():
    """The file of the local certificates and key: one, so that both are there or neither."""
    home = os.environ.get("XDG_CONFIG_HOME") or pathlib.Path.home() / ".config"
    return pathlib.Path(home) / "tf_talkinghead" / "signer.pem"


def _write_secret(path, content):
    """Writes a file that only its owner may read, in one rename."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=".signer-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            files.flush(file)
        os.rename(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); name a certificate with --sign_cert "
            "and --sign_key, or write files without a signature with --nosign"
        ) from error


def _read(certificate, key):
    try:
        certificates, private = certificate.read_bytes(), _only(key.read_bytes(), _ANY_KEY)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    try:
        loaded = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{key}: expected a private key as PEM without a password") from error
    try:
        public = x509.load_pem_x509_certificates(certificates)[0].public_key()
    except ValueError as error:
        raise InputError(f"{certificate}: expected certificates as PEM") from error
    if public != loaded.public_key():
        raise InputError(
            f"{certificate}: expected the certificate of the key in {key} as the first one, got "
            "another key's"
        )
    return Signer(_only(certificates, "CERTIFICATE"), private, _algorithm(loaded, key))


def _only(pem, kind):
    """The blocks of one kind in a PEM file."""
    pattern = rb"-----BEGIN %b-----.+?-----END %b-----\n?" % (kind.encode(), kind.encode())
    return b"".join(re.findall(pattern, pem, re.DOTALL))


def _algorithm(key, path):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    raise InputError(f"{path}: expected an RSA, Ed25519 or NIST-curve key, which C2PA allows")


def _make():
    """(certificates, key) as PEM: a signer under a root of its own, as C2PA's profile asks."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _subject(f"{_NAME}, root"), _subject(_NAME)
    root = (
        _certificate(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(True, 0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    own = (
        _certificate(name, root_name, key)
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(authority, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return own.public_bytes(pem) + root.public_bytes(pem), private


def _subject(name):
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "tf_talkinghead (self-made)"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def _certificate(subject, issuer, key):
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _usage(**allowed):
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})
