"""TLS and mutual TLS of the embedded server, with certificates made here."""

import datetime
import ipaddress

import grpc
import pytest

from serving.client import AvatarClient, AvatarError, Tls
from tests import toy_models
from tests.serving_fixtures import serving

Code = grpc.StatusCode


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    return tmp_path / "models"


def pem_pair(folder, name, authority=None):
    """Writes NAME.key and NAME.crt, signed by `authority` (a pair) or by itself.

    Returns (key, certificate) objects.
    """
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer, issuer = (key, subject) if authority is None else (authority[0], authority[1].subject)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(models, tmp_path, mutual):
    authority = pem_pair(tmp_path, "authority")
    pem_pair(tmp_path, "server", authority)
    pem_pair(tmp_path, "client", authority)
    quoted = lambda name: '"' + (tmp_path / name).read_text().replace("\n", "\\n") + '"'
    config = tmp_path / "ssl.config"
    config.write_text(
        f"server_key: {quoted('server.key')} server_cert: {quoted('server.crt')}"
        f" custom_ca: {quoted('authority.crt')} client_verify: {str(mutual).lower()}"
    )
    with serving(models=str(models), ssl_config_file=str(config)) as server:
        address = f"localhost:{server.port}"
        file = lambda name: str(tmp_path / name)
        anonymous = Tls(ca=file("authority.crt"))
        known = Tls(file("authority.crt"), file("client.key"), file("client.crt"))
        with AvatarClient(address, "anna", tls=known) as avatar:
            assert avatar.card()["person"] == "anna"
        for tls, allowed in ((anonymous, not mutual), (None, False)):
            with AvatarClient(address, "anna", tls=tls, timeout=1.0) as avatar:
                if allowed:
                    assert avatar.card()["person"] == "anna"
                else:
                    with pytest.raises(AvatarError) as error:
                        avatar.card()
                    assert error.value.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
