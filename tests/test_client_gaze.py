"""The client's pupils: avatars with render_gaze, avatars without, and what is refused; servers as
in test_serving_conformance.py.
"""

import io
import warnings

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving.client import AvatarClient
from tests.conformance import AVAILABLE, Code, refusal
from tests.face_points import COLLINS
from tests.random_avatars import random_avatar, random_guided_avatar
from tf_talkinghead.errors import InputError
from tf_talkinghead.export.saved_model import export_person


@pytest.fixture(scope="module")
def avatars(served):
    """On the server: "guided" takes pupils, "direct" does not."""
    folder = served.models / "gaze"
    export_person(random_guided_avatar(), folder, "guided")
    export_person(random_avatar("tiny")[0], folder, "direct")
    for name in ("guided", "direct"):
        served.configure(name, folder=folder / name)
    yield served.address
    for name in ("guided", "direct"):
        served.drop(name)


def points(rows, pupils=np.nan):
    """COLLINS with pupils in the eyes' middles moved by `pupils`, float32 [rows, 70, 2]."""
    middles = np.stack([COLLINS[36:42].mean(0), COLLINS[42:48].mean(0)]) + pupils
    return np.tile(np.float32(np.concatenate([COLLINS, middles])), (rows, 1, 1))


def worst(a, b):
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def test_pupils_move_the_picture_and_unknown_ones_leave_it_as_it_is(avatars):
    with AvatarClient(avatars, "guided", jpeg=False) as avatar, warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = avatar.render(points(1)[:, :68])
        assert avatar.card()["gaze"] is True
        assert worst(avatar.render(points(3)), plain) == 0  # NaN: as in the photo
        aside = avatar.render(points(1, 0.05))
        assert worst(aside, plain) > 0
        # Rows with a gaze and rows without, each as it is alone; 11 rows are several requests.
        mixed = np.concatenate([points(5, 0.05), points(6)])
        frames = avatar.render(mixed)
        assert worst(frames[:5], aside) <= 1 and worst(frames[5:], plain) <= 1
        streamed = np.stack(list(avatar.stream(iter(mixed), rows=4)))
        assert len(streamed) == 11 and worst(streamed, frames) <= 1


def test_jpegs_are_the_servers_own_bytes(avatars):
    with AvatarClient(avatars, "guided") as avatar:
        clip = points(2, 0.05)
        for data, frame in zip(avatar.jpegs(clip), avatar.render(clip), strict=True):
            np.testing.assert_array_equal(Image.open(io.BytesIO(data)), frame)
        assert avatar.jpegs(clip[:, :68])[0] != avatar.jpegs(clip)[0]


def test_an_avatar_without_gaze_gets_68_points_and_one_warning(avatars):
    with AvatarClient(avatars, "direct", jpeg=False) as avatar:
        plain = avatar.render(points(5)[:, :68])
        with pytest.warns(UserWarning, match="direct takes no gaze") as warned:
            frames = avatar.render(points(5, 0.05))
            again = np.stack(list(avatar.stream(points(5, 0.05))))
        assert len(warned) == 1
        np.testing.assert_array_equal(frames, plain)
        np.testing.assert_array_equal(again, plain)


def test_a_client_follows_to_a_version_without_gaze(served):
    """The name is served guided first, then direct: the pupils are left out from then on."""
    folder = served.models / "swapped"
    export_person(random_guided_avatar(), folder, "swapped")
    served.configure("swapped", folder=folder / "swapped")
    with AvatarClient(served.address, "swapped", jpeg=False) as avatar:
        assert avatar.render(points(1, 0.05)).shape == (1, 64, 64, 3)
        export_person(random_avatar("tiny")[0], folder, "swapped")
        served.wait_until(lambda: set(served.status("swapped").items()) >= {(2, AVAILABLE)}, 60)
        with pytest.warns(UserWarning, match="takes no gaze"):
            assert avatar.render(points(1, 0.05)).shape == (1, 32, 32, 3)
    served.drop("swapped")


def test_pupils_that_are_neither_known_nor_unknown_are_refused_before_sending():
    one = points(2, 0.01)
    one[1, 68] = np.nan
    endless = points(1, 0.01)
    endless[0, 69, 0] = np.inf
    bad_landmark = points(1, 0.01)
    bad_landmark[0, 3] = np.nan
    with AvatarClient("localhost:1", "nobody", timeout=0.3) as avatar:
        for wrong, said in (
            (one, "pupils of frame 1"),
            (endless, "pupils of frame 0"),
            (bad_landmark, "frame 0 has numbers that are not finite"),
            (np.zeros([1, 69, 2]), r"expected \[T, 68, 2\], or \[T, 70, 2\]"),
        ):
            with pytest.raises(InputError, match=said):
                avatar.render(wrong)


def test_servers_answer_ok_false_for_what_is_not_finite_but_both_pupils(served, avatars):
    rows = points(4, 0.01)
    rows[1, 68] = np.nan  # one pupil alone
    rows[2, 69] = np.inf
    rows[3, 20] = np.nan
    answer = served.predict("guided", {"points": rows}, "render_gaze")
    assert tf.make_ndarray(answer.outputs["ok"]).tolist() == [True, False, False, False]
    with refusal(Code.FAILED_PRECONDITION):
        served.predict("direct", {"points": rows}, "render_gaze")
