"""A version appears whole or not at all, also when the publisher is killed."""

import concurrent.futures
import errno
import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.full_disk import largest_file
from tests.random_avatars import random_avatar
from tf_talkinghead import files
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import config_file, store
from tf_talkinghead.export.saved_model import export_person


def _write(text):
    def write(folder, version):
        (folder / "saved_model.pb").write_text(text)
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_text(text)

    return write


def test_versions_count_up_and_prune_keeps_the_newest(tmp_path):
    paths = [store.publish(tmp_path, "ann", _write(str(i))) for i in range(11)]
    assert [path.name for path in paths] == [str(i) for i in range(1, 12)]
    assert store.prune(tmp_path, "ann", keep=2) == list(range(1, 10))
    assert store.versions(tmp_path, "ann") == [
        10,
        11,
    ]  # by number: as text "10" would sort before "9"
    assert (tmp_path / "ann" / "11" / "variables" / "data").read_text() == "10"
    assert store.publish(tmp_path, "ann", _write("x")).name == "12"
    assert not list(tmp_path.glob(".deleted-*")) and not list(tmp_path.glob(".publishing-*"))


def test_pruning_spares_the_versions_that_models_config_names(tmp_path):
    """`stable` may point at an old version: without it the server would unload what it serves."""
    for i in range(5):
        store.publish(tmp_path, "ann", _write(str(i)))
    (tmp_path / store.CONFIG_FILE).write_text(
        'model_config_list { config { name: "ann" base_path: "/m/ann" '
        "model_version_policy { specific { versions: 2 versions: 5 } } "
        'version_labels { key: "stable" value: 2 } } config { name: "bob" base_path: "/m/bob" '
        "model_version_policy { specific { versions: 3 } } } }"
    )
    assert store.prune(tmp_path, "ann", keep=1) == [1, 3, 4]
    assert store.versions(tmp_path, "ann") == [2, 5]


def test_a_number_is_never_given_twice(tmp_path):
    """Whoever still holds version 2 must not find other content under its number."""
    for text in "ab":
        store.publish(tmp_path, "ann", _write(text))
    shutil.rmtree(tmp_path / "ann" / "2")  # the documented way to withdraw a bad canary
    assert store.publish(tmp_path, "ann", _write("c")).name == "3"
    assert store.versions(tmp_path, "ann") == [1, 3]


def test_the_writer_is_told_its_version(tmp_path):
    told = []
    for _ in range(2):
        store.publish(tmp_path, "ann", lambda folder, version: told.append(version))
    assert told == [1, 2]


def test_failed_write_shows_nothing(tmp_path):
    def write(folder, version):
        (folder / "half").write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.publish(tmp_path, "ann", write)
    assert store.versions(tmp_path, "ann") == [] and not list(tmp_path.glob(".publishing-*"))


def test_published_folder_is_readable_by_other_users(tmp_path):
    path = store.publish(tmp_path, "ann", _write("x"))
    assert path.stat().st_mode & 0o755 == 0o755


KILLED = """
import pathlib, sys, time
from tf_talkinghead.export import store
def write(folder, version):
    for i in range(1000000):
        (folder / f"part-{i % 50}").write_text("x" * 1000)
        if i == 20: print("writing", flush=True)
while True:
    store.publish(
        sys.argv[1], "ann", lambda f, v: [(f / str(i)).write_text("x") for i in range(20)]
    )
    if len(sys.argv) > 2: store.publish(sys.argv[1], "ann", write)
"""


@pytest.mark.parametrize("delay", [None, 0.0, 0.01, 0.05])
def test_kill_9_never_shows_half_a_version_and_the_next_publisher_carries_on(tmp_path, delay):
    arguments = [sys.executable, "-c", KILLED, str(tmp_path)] + (["stuck"] if delay is None else [])
    root = pathlib.Path(__file__).parents[1]
    process = subprocess.Popen(arguments, cwd=root, stdout=subprocess.PIPE)
    if delay is None:
        process.stdout.readline()  # in the middle of writing the second version
    else:
        while not store.versions(tmp_path, "ann"):
            time.sleep(0.005)
        time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for version in store.versions(tmp_path, "ann"):
        assert len(list((tmp_path / "ann" / str(version)).iterdir())) == 21  # SHA256SUMS too
    if delay is None:
        assert store.versions(tmp_path, "ann") == [1] and list(tmp_path.glob(".publishing-ann-*"))
    newest = store.versions(tmp_path, "ann")[-1]
    assert store.publish(tmp_path, "ann", _write("after")).name == str(newest + 1)
    assert not list(tmp_path.glob(".publishing-*"))


def test_delete_removes_one_person_only(tmp_path):
    for person in ("ann", "ann-b", "bob"):
        store.publish(tmp_path, person, _write(person))
        store.work_dir(tmp_path, person).mkdir(parents=True)
    (tmp_path / ".publishing-ann-b-x1").mkdir()
    (tmp_path / ".publishing-ann-x1").mkdir()
    assert store.delete_folders(tmp_path, "ann") == [
        "versions 1",
        "the work folder",
        "unfinished versions",
    ]
    assert store.people(tmp_path) == ["ann-b", "bob"]
    assert (tmp_path / ".publishing-ann-b-x1").exists() and not (
        tmp_path / ".publishing-ann-x1"
    ).exists()
    assert not [path for path in tmp_path.rglob("*") if path.name in ("ann", "ann.publishing")]
    assert store.delete_folders(tmp_path, "ann") == []


def test_model_config_entry_is_removed(tmp_path):
    config = tmp_path / store.CONFIG_FILE
    entry = 'config {{ name: "{0}" base_path: "/models/{0}" model_platform: "tensorflow" }}'
    entries = " ".join(entry.format(name) for name in ("ann", "bob"))
    config.write_text(f"model_config_list {{ {entries} }}")
    assert config_file.remove_config_entry(tmp_path, "ann") and not config_file.remove_config_entry(
        tmp_path, "ann"
    )
    assert '"bob"' in config.read_text() and "ann" not in config.read_text()
    config.write_text("model_config_list {")
    with pytest.raises(InputError, match="not a TensorFlow Serving model config"):
        config_file.remove_config_entry(tmp_path, "bob")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-flag",
        "a/b",
        "../a",
        "a\\b",
        "a b",
        "a\n",
        "bank",
        "Bank",
        "models.config",
        "é",
        "x" * 65,
        "a.",
    ],
)
def test_unsafe_and_reserved_names_are_refused(name):
    with pytest.raises(InputError):
        store.check_name(name)


@pytest.mark.parametrize("name", ["ann", "A", "_", "Ann-2.b_c", "x" * 64, "007"])
def test_plain_names_pass(name):
    assert store.check_name(name) == name


def test_a_second_process_on_the_same_person_is_refused(tmp_path):
    with store.lock(tmp_path, "ann"):
        with (
            pytest.raises(InputError, match="another process"),
            store.lock(tmp_path, "ann"),
        ):
            pass
        with store.lock(tmp_path, "bob"):
            pass
    with store.lock(tmp_path, "ann"):
        pass


def test_atomic_write_replaces_or_keeps(tmp_path):
    path = tmp_path / "sub" / "file.json"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two" and [entry.name for entry in path.parent.iterdir()] == [
        "file.json"
    ]


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
    (tmp_path / ".file.json.partial").write_bytes(b"half of a long content")
    files.write_atomically(tmp_path / "file.json", b"whole")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]
    assert (tmp_path / "file.json").read_bytes() == b"whole"


def test_writers_of_one_path_wait_for_each_other(tmp_path):
    """After any number of writes at once one whole content is there, and nothing else."""
    path, contents = tmp_path / "file", [bytes([number]) * 100_000 for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            list(pool.map(functools.partial(files.write_atomically, path), contents))
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(InputError, match="No space left on device"):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_a_full_disk_is_one_line_and_publishes_nothing(tmp_path, size):
    """TensorFlow has errors of its own for a disk; found by the fault campaign."""
    avatar, _ = random_avatar()
    with largest_file(size), pytest.raises(InputError, match="cannot write a version") as refusal:
        export_person(avatar, tmp_path, "ann")
    assert "\n" not in str(refusal.value) and "File too large" in str(refusal.value)
    assert [path.name for path in tmp_path.glob("[!.]*")] == []
    assert not list(tmp_path.glob(".publishing-*"))
    assert export_person(avatar, tmp_path, "ann").name == "1"


def test_a_versions_digests_name_the_file_that_changed(tmp_path):
    def write(folder, _number):
        (folder / "variables").mkdir()
        (folder / "variables" / "data").write_bytes(b"abc")
        (folder / "vectors.npz").write_bytes(b"people come and go")

    version = store.publish(tmp_path, "ann", write)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"
    assert (version / "SHA256SUMS").read_text() == f"{digest}  variables/data\n"
    store.check_digests(version)
    (version / "vectors.npz").write_bytes(b"others")
    store.check_digests(version)
    (version / "variables" / "data").write_bytes(b"xyz")
    with pytest.raises(InputError, match="variables/data: damaged"):
        store.check_digests(version)
    (version / "variables" / "data").unlink()
    with pytest.raises(InputError, match="variables/data: damaged"):
        store.check_digests(version)
    (version / "SHA256SUMS").unlink()  # an older version
    store.check_digests(version)
