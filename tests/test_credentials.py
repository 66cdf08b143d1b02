"""Content Credentials: written, read back by C2PA's reference library, refused once changed."""

import datetime
import hashlib
import json
import stat

import av
import c2pa
import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tf_talkinghead import provenance
from tf_talkinghead.disclosure import credentials
from tf_talkinghead.disclosure.certificate import signer
from tf_talkinghead.errors import InputError

CARD = {
    "person": "ann",
    "weights_sha256": "ab" * 32,
    "inputs_sha256": ["01" * 32, "02" * 32],
    "consent": {"statement": "I agree.", "by": "Ann", "when": "2026-05-04T03:02:01+00:00"},
    "watermark": {"present": True, "id": "c0ffee42", "key": "public"},
}


def write_sounding(path, frames):
    """A film of `frames` with a second of sound."""
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("libx264", rate=20)
        pictures.height, pictures.width = frames[0].shape[:2]
        sound = out.add_stream("aac", rate=8000, layout="mono")
        for frame in frames:
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(pictures.encode())
        wave = np.sin(np.arange(8000) / 9, dtype=np.float32)[None]
        tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        tone.rate = 8000
        out.mux(sound.encode(tone))
        out.mux(sound.encode())


@pytest.fixture
def film(tmp_path):
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8), (128, 128))
    frames = [np.roll(picture, shift, axis=1) for shift in range(20)]
    write_sounding(tmp_path / "film.mp4", frames)
    return tmp_path / "film.mp4"


def packets(path):
    """Every packet of a film as it is stored: stream, times, bytes."""
    with av.open(str(path)) as container:
        assert len(container.streams) == 2
        return [(p.stream.type, p.pts, p.dts, bytes(p)) for p in container.demux() if p.size]


def test_a_film_carries_what_it_is_and_stays_bit_for_bit(film, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # a certificate is made
    (tmp_path / "driver.mp4").write_bytes(b"a driver")
    before = packets(film)
    said = credentials.sign_made(film, CARD, tmp_path / "driver.mp4")
    assert "unknown" in said and "signer.pem" in said
    assert packets(film) == before
    assert stat.S_IMODE(film.stat().st_mode) == 0o644
    manifest = json.loads(c2pa.Reader(str(film)).json())
    active = manifest["manifests"][manifest["active_manifest"]]
    assert active["claim_generator_info"][0]["name"] == "tf_talkinghead"
    driver = hashlib.sha256(b"a driver").hexdigest()
    assert {one["instance_id"] for one in active["ingredients"]} == {
        f"sha256:{digest}" for digest in [driver, *CARD["inputs_sha256"]]
    }
    found = credentials.read(film)
    assert (found.state, found.ai_generated) == ("unknown signer", True)
    assert found.avatar["consent"] == CARD["consent"] and found.avatar["person"] == "ann"
    assert found.avatar["watermark"]["id"] == "c0ffee42"
    assert provenance.SOURCE_TYPE.encode() in film.read_bytes()
    # The second film is signed by the same certificate, and nothing is made.
    assert "made just now" not in credentials.sign_made(film, CARD)


def test_one_changed_byte_is_noticed(film):
    credentials.sign_made(film, CARD)
    content = bytearray(film.read_bytes())
    place = content.index(b"mdat") + 2000  # in the middle of a frame
    content[place] ^= 1
    film.write_bytes(content)
    assert credentials.read(film).state == "broken"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_pictures_are_signed(tmp_path, portrait, suffix):
    path = tmp_path / f"picture{suffix}"
    assert cv2.imwrite(str(path), portrait)
    before = cv2.imread(str(path))
    credentials.sign_made(path, None)
    assert credentials.read(path).state == "unknown signer"
    assert credentials.read(path).avatar["consent"] == provenance.NO_CONSENT
    np.testing.assert_array_equal(cv2.imread(str(path)), before)


def test_unsigned_files_have_none(film, tmp_path):
    (tmp_path / "film.avi").write_bytes(b"no kind of file that has credentials")
    assert credentials.read(film).state == "none"
    assert credentials.read(tmp_path / "film.avi").state == "none"
    with pytest.raises(InputError, match=r"expected one of \.mp4"):
        credentials.sign_made(tmp_path / "film.avi", None)


def issue(name, issuer, key, by, authority=False):
    """An X.509 certificate of `key`, signed by the key `by`."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (name, issuer)]
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        ["content_commitment", "key_encipherment", "data_encipherment", "key_agreement"], False
    )
    usage |= {"encipher_only": False, "decipher_only": False, "crl_sign": authority}
    usage |= {"digital_signature": not authority, "key_cert_sign": authority}
    builder = (
        x509.CertificateBuilder(*names[::-1], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(authority, None), True)
        .add_extension(x509.KeyUsage(**usage), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False)
    )
    if not authority:
        kinds = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(kinds, False)
    return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_the_operators_own_certificate_signs(film, tmp_path, monkeypatch):
    root, key = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP384R1())
    chain = issue("Films Ltd", "Films root", key, root)
    chain += issue("Films root", "Films root", root, root, authority=True)
    (tmp_path / "cert.pem").write_bytes(chain)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key.pem").write_bytes(private)
    assert "given" in credentials.sign_made(
        film, CARD, certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem"
    )
    assert credentials.read(film).signer == "Films Ltd"
    monkeypatch.setenv("TALKINGHEAD_SIGN_CERT", str(tmp_path / "cert.pem"))
    with pytest.raises(InputError, match="needs both"):
        signer()
    monkeypatch.setenv("TALKINGHEAD_SIGN_KEY", str(tmp_path / "key.pem"))
    assert signer().algorithm == "es384" and not signer().local
    (tmp_path / "key.pem").write_bytes(b"no key")
    with pytest.raises(InputError, match="expected a private key"):
        signer()


def test_the_local_key_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = signer()
    assert made.made == tmp_path / "tf_talkinghead" / "signer.pem"
    assert stat.S_IMODE(made.made.stat().st_mode) == 0o600
    again = signer()
    assert again.made is None and again.key == made.key
    assert b"PRIVATE" not in made.certificates
