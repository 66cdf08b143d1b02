"""Content Credentials (C2PA): writes and reads a signed manifest inside a film or picture.

The manifest says that a trained algorithm made the file (digitalSourceType), with which software
and avatar, when, from which inputs (their SHA-256, not the files) and with which stated consent.
Frames, frame rate and sound are not changed, bit for bit. No time-stamp server is asked. For
readers without C2PA the same source type is written into an XMP packet of a film.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import tempfile

import c2pa

import tf_talkinghead
from tf_talkinghead import files, provenance
from tf_talkinghead.disclosure import certificate as certificates
from tf_talkinghead.disclosure.certificate import Signer
from tf_talkinghead.errors import InputError

ASSERTION = "org.tf-talkinghead.avatar"
MEDIA_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}
# ISO 14496-12 box type and the identifier of an XMP packet in it (ISO 16684-1, Annex A).
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


@dataclasses.dataclass(frozen=True)
class Credentials:
    """The Content Credentials found in a file.

    Attributes:
      state: "valid" (the signer is known to the validator), "unknown signer" (unchanged, but nobody
        vouches for the signer), "broken" (changed since it was signed, or wrongly signed) or
        "none".
      signer: name in the certificate, or None.
      ai_generated: whether an action names trainedAlgorithmicMedia.
      avatar: the content of our own assertion, {} where there is none.
    """

    state: str
    signer: str | None = None
    ai_generated: bool = False
    avatar: dict = dataclasses.field(default_factory=dict)


def sign(
    path: str | os.PathLike, signer: Signer, card: dict | None, inputs: dict[str, str]
) -> None:
    """Puts a signed manifest and, into a film, an XMP packet into a file, atomically.

    Args:
      path: the film or picture; its suffix one of MEDIA_TYPES.
      signer: as returned by `certificate.signer`.
      card: the avatar's card; None where it is not known.
      inputs: title -> SHA-256 of each input besides the person's images, such as the driver.

    Raises:
      InputError: another kind of file, or the C2PA library refuses key, certificate or file.
    """
    path = pathlib.Path(path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise InputError(f"{path}: expected one of {', '.join(MEDIA_TYPES)} to sign")
    manifest = _manifest(path.name, media_type, card, inputs)
    with tempfile.TemporaryDirectory(prefix=".sign-", dir=path.parent) as folder:
        plain, signed = pathlib.Path(folder) / "plain", pathlib.Path(folder) / "signed"
        shutil.copyfile(path, plain)
        if media_type in ("video/mp4", "video/quicktime"):
            _append_xmp(plain)
        try:
            info = c2pa.C2paSignerInfo(
                signer.algorithm.encode(), signer.certificates, signer.key, None
            )
            with (
                c2pa.Signer.from_info(info) as signing,
                c2pa.Builder(json.dumps(manifest)) as builder,
                plain.open("rb") as source,
                signed.open("w+b") as target,
            ):
                builder.sign(signing, media_type, source, target)
        except c2pa.C2paError as error:
            raise InputError(f"{path}: cannot be signed ({error})") from error
        os.replace(signed, path)


def sign_made(
    path: str | os.PathLike,
    card: dict | None,
    driver: str | os.PathLike | None = None,
    certificate: str | None = None,
    key: str | None = None,
) -> str:
    """Signs a file this project has just made; returns one sentence on what that means.

    Args:
      path: the film or picture.
      card: the avatar's.
      driver: the file whose motion the film follows; None for a scripted motion.
      certificate, key: PEM files; None: those the environment names, or the local self-made pair.
    """
    chosen = certificates.signer(certificate, key)
    inputs = {} if driver is None else {"driver": files.sha256(pathlib.Path(driver).read_bytes())}
    sign(path, chosen, card, inputs)
    if chosen.local:
        made = f", made just now in {chosen.made}" if chosen.made else ""
        return (
            f"signed with this machine's own certificate{made}: readers can tell that the file is "
            "unchanged, but call its signer unknown; --sign_cert and --sign_key name a known one"
        )
    return "signed with the certificate given"


def read(path: str | os.PathLike) -> Credentials:
    """The Content Credentials of a file; state "none" for a kind of file that has none."""
    path = pathlib.Path(path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        return Credentials("none")
    try:
        with path.open("rb") as file, c2pa.Reader(media_type, file) as reader:
            state, found = reader.get_validation_state(), json.loads(reader.json())
    except c2pa.C2paError as error:
        return Credentials("none" if "ManifestNotFound" in str(error) else "broken")
    active = found["manifests"][found["active_manifest"]]
    assertions = {each["label"]: each["data"] for each in active.get("assertions", [])}
    actions = [
        action
        for label, data in assertions.items()
        if label.startswith("c2pa.actions")
        for action in data.get("actions", [])
    ]
    states = {"Trusted": "valid", "Valid": "unknown signer"}
    return Credentials(
        states.get(str(state), "broken"),
        active.get("signature_info", {}).get("common_name"),
        any(action.get("digitalSourceType") == provenance.SOURCE_TYPE for action in actions),
        assertions.get(ASSERTION, {}),
    )


def _manifest(title, media_type, card, inputs):
    card = card or {}
    software = {"name": "tf_talkinghead", "version": tf_talkinghead.__version__}
    when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    photos = {
        f"image {number} of the person": digest
        for number, digest in enumerate(card.get("inputs_sha256") or [], start=1)
    }
    action = {
        "action": "c2pa.created",
        "when": when,
        "softwareAgent": software,
        "digitalSourceType": provenance.SOURCE_TYPE,
    }
    avatar = {
        "person": card.get("person"),
        "watermark": card.get("watermark"),
        "weights_sha256": card.get("weights_sha256"),
        "consent": card.get("consent") or provenance.NO_CONSENT,
        "notice": provenance.NOTICE,
        "inputs_sha256": {**inputs, **photos},
    }
    return {
        "claim_generator_info": [software],
        "title": title,
        "format": media_type,
        "ingredients": [
            {"title": name, "relationship": "inputTo", "instance_id": f"sha256:{digest}"}
            for name, digest in {**inputs, **photos}.items()
        ],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": ASSERTION, "data": avatar},
        ],
    }


def _append_xmp(path):
    """Adds the XMP packet to an mp4 as a box at its end, where no offset moves."""
    packet = _XMP_BOX + provenance.XMP.encode()
    with path.open("ab") as file:
        file.write((len(packet) + 8).to_bytes(4, "big") + b"uuid" + packet)
