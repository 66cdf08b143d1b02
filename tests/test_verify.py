"""scripts.verify on files of many kinds: what it says, and its exit codes."""

import io
import json

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests import moving_portrait
from tests.script_runner import run_script
from tf_talkinghead import provenance
from tf_talkinghead.data import video
from tf_talkinghead.disclosure import credentials
from tf_talkinghead.watermark.embedding import mark_frames
from tf_talkinghead.watermark.pattern import make_pattern

ID = 0xC0FFEE42


def reencoded(source, target):
    """The film as another encoder leaves it: no metadata, no manifest."""
    video.write_video(target, video.read_video(source).frames, 25)


def jpeg(picture, **options):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=90, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Name -> file."""
    folder = tmp_path_factory.mktemp("kinds")
    plain = moving_portrait.clip(20, 256).images
    marked = mark_frames(plain, make_pattern(), ID)
    made = folder / "ours.mp4"
    video.write_video(made, marked, 25, metadata={"comment": provenance.MARK})
    credentials.sign_made(made, {"person": "ann", "inputs_sha256": ["ab" * 32]})
    video.write_video(folder / "plain.mp4", plain, 25)
    reencoded(made, folder / "reencoded.mp4")
    content = bytearray(made.read_bytes())
    content[content.index(b"mdat") + 3000] ^= 1
    (folder / "changed.mp4").write_bytes(content)
    (folder / "served.jpg").write_bytes(jpeg(marked[0], xmp=provenance.XMP.encode()))
    (folder / "stripped.jpg").write_bytes(jpeg(marked[0]))
    (folder / "plain.jpg").write_bytes(jpeg(plain[0]))
    assert cv2.imwrite(str(folder / "comment.png"), plain[0, :, :, ::-1])
    (folder / "broken.mp4").write_bytes(made.read_bytes()[:2000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    with av.open(str(folder / "sound.mp4"), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros([1, 8000], np.float32), "fltp", "mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    card = {"watermark": {"present": True, "id": f"{ID:08x}", "key": "public"}}
    for name, text in {"ann/7": json.dumps(card), "old/1": "{}", "damaged/1": "{"}.items():
        (folder / "models" / name).mkdir(parents=True)
        (folder / "models" / name / "card.json").write_text(text)
    return folder


EXPECTED = {
    "ours.mp4": (0, "signed by tf_talkinghead local signer"),
    "reencoded.mp4": (0, "watermark of ann version 7"),
    "changed.mp4": (0, "signature is broken"),
    "served.jpg": (0, "metadata says AI-generated"),
    "stripped.jpg": (0, "watermark of ann version 7"),
    "plain.mp4": (1, "not marked"),
    "plain.jpg": (1, "no watermark of this key was found"),
    "comment.png": (1, "not marked"),
    "broken.mp4": (2, "broken.mp4"),
    "empty.png": (2, "empty"),
    "text.jpg": (2, "text.jpg"),
    "sound.mp4": (2, "no video"),
    "none.mp4": (2, "no such file"),
}


def test_every_kind_of_file_has_its_answer(kinds):
    models = f"--models={kinds}/models"
    runs = [[models, str(kinds / name)] for name in EXPECTED]
    runs.append([models, *(str(kinds / name) for name in ("ours.mp4", "plain.jpg", "empty.png"))])
    runs.append([models, "--json", str(kinds / "stripped.jpg"), str(kinds / "empty.png")])
    runs += [[], [f"--models={kinds}/nowhere", str(kinds / "ours.mp4")]]
    *singles, several, machine, nothing, nowhere = run_script("verify", *runs)
    for (name, (code, words)), found in zip(EXPECTED.items(), singles):
        said = found.stdout + found.stderr
        assert found.code == code and words in said, (name, found)
        assert len(said.splitlines()) == 1, said
    assert several.code == 2 and len(several.stdout.splitlines()) == 2
    picture, refused = map(json.loads, machine.stdout.splitlines())
    assert picture["watermark"]["id"] == f"{ID:08x}" and picture["avatar"] == "ann version 7"
    assert picture["marked"] and picture["signature"]["state"] == "none"
    assert picture["watermark"]["score"] > picture["watermark"]["threshold"]
    assert picture["frames_per_second"] > 0
    assert "empty" in refused["error"] and machine.code == 2
    assert nothing.code == 2 and nowhere.code == 2 and "no such folder" in nowhere.stderr
