"""Which files are taken and who is on them: VoxCeleb trees, folders, manifests, and
what is left out by name.
"""

import os

import pytest

from tf_talkinghead.data.listing import Clip, Rejection, list_clips, who
from tf_talkinghead.errors import InputError


def _touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("prefix", ["", "dev/mp4/", "vox2/dev/mp4/"])
def test_voxceleb_tree(tmp_path, prefix):
    names = [
        "id00012/21Uxsk56VDQ/00001.mp4",
        "id00012/21Uxsk56VDQ/00002.mp4",
        "id00012/2DLq_Kkc1r8/00016.mp4",
        "id00015/_Y-x/1.mp4",
    ]
    _touch(tmp_path, *(prefix + name for name in names))
    clips, rejected = list_clips(tmp_path)
    assert not rejected and [clip.name for clip in clips] == sorted(prefix + name for name in names)
    assert [(clip.identity, clip.video) for clip in clips] == [
        ("id00012", "21Uxsk56VDQ"),
        ("id00012", "21Uxsk56VDQ"),
        ("id00012", "2DLq_Kkc1r8"),
        ("id00015", "_Y-x"),
    ]


def test_any_folder():
    assert who("anna/holiday/1.mp4") == Clip("anna/holiday/1.mp4", "anna", "anna/holiday/1.mp4")
    assert who("loose.mp4") == Clip("loose.mp4", "loose.mp4", "loose.mp4")


def test_folder_skips_hidden_files_and_names_the_rest(tmp_path):
    _touch(tmp_path, "zoë/é 1.MP4", "a/b.jpg", "a/notes.txt", ".hidden.mp4", "a/.work/x.mp4")
    clips, rejected = list_clips(tmp_path)
    assert [clip.name for clip in clips] == ["a/b.jpg", "zoë/é 1.MP4"]
    assert rejected == [Rejection("a/notes.txt", "not a video or photo by its name")]


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    _touch(tmp_path, "elsewhere/bo/1.mp4", "in/anna/1.mp4")
    (tmp_path / "in" / "bo").symlink_to(tmp_path / "elsewhere" / "bo")
    (tmp_path / "in" / "anna" / "up").symlink_to(tmp_path / "in")
    clips, rejected = list_clips(tmp_path / "in")
    assert [clip.name for clip in clips] == ["anna/1.mp4", "bo/1.mp4"] and not rejected


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    _touch(tmp_path, "a/x.mp4", "b/x.mp4")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    clips, rejected = list_clips(tmp_path)
    assert [clip.name for clip in clips] == ["a/x.mp4"]
    assert rejected == [Rejection("b", "folder cannot be read (Permission denied)")]


def test_twins_are_both_left_out(tmp_path):
    _touch(tmp_path, "a/x.mp4", "a/x.webm", "b/x.mp4", "a/x.1.mp4")
    clips, rejected = list_clips(tmp_path)
    assert [clip.name for clip in clips] == ["a/x.1.mp4", "b/x.mp4"]
    assert [rejection.file for rejection in rejected] == ["a/x.mp4", "a/x.webm"]
    assert "differs from a/x.webm only in its extension" in rejected[0].reason


def _manifest(tmp_path, text):
    (tmp_path / "people.csv").write_text(text, "utf-8")
    return tmp_path / "people.csv"


def test_manifest_overrides_the_folders(tmp_path):
    _touch(
        tmp_path, "v/1.mp4", "v/2.mp4", "p/3.jpg", "v/unlisted.mp4", "id00001/abc/1.mp4", "x.txt"
    )
    path = _manifest(
        tmp_path,
        "file,person_id,ok\nv/1.mp4,anna,yes\nv/2.mp4,bo,no\np/3.jpg,anna,yes\nv/none.mp4,bo,yes\n"
        "v/1.mp4,bo,yes\n../secret.mp4,bo,yes\nid00001/abc/1.mp4,cy,yes\nx.txt,cy,yes\nv/unlisted.mp4,,yes\n",
    )
    clips, rejected = list_clips(tmp_path, path)
    assert [(clip.name, clip.identity) for clip in clips] == [
        ("id00001/abc/1.mp4", "cy"),
        ("p/3.jpg", "anna"),
        ("v/1.mp4", "anna"),
        ("v/2.mp4", "bo"),
    ]
    assert clips[0].video == "abc" and clips[1].video == "p/3.jpg"
    assert {rejection.file for rejection in rejected} == {
        "v/none.mp4",
        "v/1.mp4",
        "../secret.mp4",
        "x.txt",
        "v/unlisted.mp4",
    }
    clips, _ = list_clips(tmp_path, path, "ok=no")
    assert [clip.name for clip in clips] == ["v/2.mp4"]


def test_manifest_may_name_videos(tmp_path):
    _touch(tmp_path, "1.mp4", "2.mp4")
    path = _manifest(tmp_path, "\ufefffile,person_id,video_id\n1.mp4,anna,talk\n2.mp4,anna,talk\n")
    assert [(clip.identity, clip.video) for clip in list_clips(tmp_path, path)[0]] == [
        ("anna", "talk")
    ] * 2


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="--input=.*no such folder"):
        list_clips(tmp_path / "none")
    with pytest.raises(InputError, match="no video or photo"):
        list_clips(tmp_path)
    _touch(tmp_path, "1.mp4")
    with pytest.raises(InputError, match="--where.*--manifest"):
        list_clips(tmp_path, None, "a=b")
    with pytest.raises(InputError, match="--manifest=.*cannot be read"):
        list_clips(tmp_path, tmp_path / "none.csv")
    with pytest.raises(InputError, match="columns file and person_id"):
        list_clips(tmp_path, _manifest(tmp_path, "name,who\n1.mp4,anna\n"))
    path = _manifest(tmp_path, "file,person_id\n1.mp4,anna\n")
    for where in ("colour=red", "person_id"):
        with pytest.raises(InputError, match="--where.*column=value"):
            list_clips(tmp_path, path, where)
    with pytest.raises(InputError, match="no row"):
        list_clips(tmp_path, path, "person_id=bo")
