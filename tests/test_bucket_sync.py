"""The sync script of bucket.yaml, run as it stands over local folders."""

import os
import subprocess

import pytest
import yaml

from serving import models_config
from tests.real_server import SERVING
from tf_talkinghead.export import store

RCLONE = """#!/bin/sh
# rclone, as far as the sync script uses it, over local folders
case $1 in
  copyto) cp "$2" "$3" ;;
  copy) [ -d "$2" ] && mkdir -p "$3" && cp -r "$2/." "$3" ;;
  *) exit 2 ;;
esac
"""


@pytest.fixture
def sync(tmp_path):
    """Runs one round of the bucket container's script; (bucket, models, sync)."""
    container = yaml.safe_load((SERVING / "kubernetes" / "bucket.yaml").read_text())["spec"][
        "template"
    ]["spec"]["initContainers"][0]
    bucket, models, tools = tmp_path / "bucket", tmp_path / "models", tmp_path / "tools"
    for folder in (bucket, models, tools):
        folder.mkdir()
    for name, text in (("rclone", RCLONE), ("sleep", "#!/bin/sh\nkill $PPID\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    environment = {**os.environ, **given, "BUCKET": str(bucket)}
    environment["PATH"] = f"{tools}:{os.environ['PATH']}"
    script = container["args"][0].replace("/models", str(models), 1)

    def run():
        subprocess.run(["sh", "-c", script], env=environment, timeout=60, capture_output=True)

    return bucket, models, run


def publish(bucket, name, version):
    (bucket / name / str(version)).mkdir(parents=True)
    (bucket / name / str(version) / "saved_model.pb").write_text(f"{name} {version}")


def write_config(bucket, **labels):
    config = models_config.config_of(bucket, labels, served_from="/models")
    models_config.write(bucket, config)


def present(models):
    return {str(path.parent.relative_to(models)) for path in models.rglob("saved_model.pb")}


def test_the_pods_folder_becomes_what_the_buckets_config_names(sync):
    bucket, models, run = sync
    publish(bucket, "anna", 1)
    publish(bucket, "bob", 12)
    write_config(bucket, anna={"stable": 1, "canary": 1}, bob={"stable": 12})
    run()
    assert present(models) == {"anna/1", "bob/12"}
    assert (models / ".synced").exists()
    assert (models / "models.config").read_text() == (bucket / "models.config").read_text()

    # a version that is being uploaded is not fetched: the config does not name it yet
    publish(bucket, "anna", 2)
    run()
    assert present(models) == {"anna/1", "bob/12"}

    # named before it is there: the config waits for it
    before = (models / "models.config").read_text()
    write_config(bucket, anna={"stable": 2, "canary": 2})
    (bucket / "anna" / "2").rename(bucket / "later")
    run()
    assert (models / "models.config").read_text() == before
    (bucket / "later").rename(bucket / "anna" / "2")
    run()
    assert (models / "models.config").read_text() == (bucket / "models.config").read_text()

    # what is no longer named stays until the server has had time to unload it
    assert present(models) == {"anna/1", "anna/2", "bob/12"}
    for mark in (models / ".unnamed").iterdir():
        os.utime(mark, (0, 0))
    run()
    assert present(models) == {"anna/2"}

    # a bucket that cannot be read removes nothing
    (bucket / "models.config").unlink()
    run()
    assert present(models) == {"anna/2"}


def test_a_version_that_is_not_as_published_is_not_taken(sync):
    bucket, models, run = sync
    for name in ("anna", "bob"):
        publish(bucket, name, 1)
        store.write_digests(bucket / name / "1")
    write_config(bucket, anna={"stable": 1}, bob={"stable": 1})
    (bucket / "bob" / "1" / "saved_model.pb").write_text("bob 2")  # as long as before
    run()
    assert present(models) == {"anna/1"} and not (models / "models.config").exists()
    publish(bucket / "again", "bob", 1)
    (bucket / "again/bob/1/saved_model.pb").rename(bucket / "bob/1/saved_model.pb")
    run()
    assert present(models) == {"anna/1", "bob/1"} and (models / "models.config").exists()
