"""Settings of a run resolved: steps from epochs, resuming, and runs of version 0.1."""

import dataclasses
import json

import pytest
import tensorflow as tf

from tf_talkinghead.config import PreparationConfig, preset, replace, to_json
from tf_talkinghead.errors import InputError
from tf_talkinghead.training.run import refusing
from tf_talkinghead.training.run_settings import check_resumable, stored_config, with_steps


def store(folder, config):
    (folder / "config.json").write_text(to_json(config))


def test_the_papers_epochs_set_the_steps(tmp_path):
    """VoxCeleb2 has 145,000 videos: 75 epochs in batches of 48 are 226,563 updates, 150 twice as
    many.
    """
    paper = preset("paper")
    meta = with_steps(paper, tmp_path, 145_000).meta
    assert (meta.steps, meta.epochs) == (226_563, 75)
    meta = with_steps(replace(paper, {"meta.variant": "ff"}), tmp_path, 145_000).meta
    assert (meta.steps, meta.epochs) == (453_125, 150)


def test_given_steps_and_given_epochs(tmp_path):
    tiny = preset("tiny")
    assert with_steps(tiny, tmp_path, 10) == tiny and tiny.meta.steps == 20
    asked = replace(tiny, {"meta.steps": 0, "meta.epochs": 3})
    assert with_steps(asked, tmp_path, 5).meta.steps == 8  # 3 x 5 episodes in batches of 2


def test_a_stored_number_of_steps_keeps_its_meaning(tmp_path):
    paper = preset("paper")
    store(tmp_path, replace(paper, {"meta.steps": 1_000_000}))
    assert with_steps(paper, tmp_path, 145_000).meta.steps == 1_000_000
    longer = replace(paper, {"meta.epochs": 100})
    assert with_steps(longer, tmp_path, 480).meta.steps == 1000
    assert with_steps(replace(paper, {"meta.steps": 7}), tmp_path, 480).meta.steps == 7


def test_resuming_keeps_the_number_though_the_dataset_grew(tmp_path):
    paper = preset("paper")
    first = with_steps(paper, tmp_path, 96)
    store(tmp_path, first)
    assert with_steps(paper, tmp_path, 960) == first and first.meta.steps == 150


def test_a_run_of_version_0_1_is_resumed_whatever_the_preparations_defaults_were(tmp_path):
    tree = json.loads(to_json(preset("tiny")))
    old = PreparationConfig(detect_every=10, max_frames=32)
    tree["data"] = {**dataclasses.asdict(old), **tree["data"]}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    check_resumable(preset("tiny"), tmp_path)


def test_another_configuration_is_refused_and_lengths_are_not(tmp_path):
    assert stored_config(tmp_path) is None
    store(tmp_path, preset("tiny"))
    assert stored_config(tmp_path) == preset("tiny")
    for change in ({"meta.steps": 9}, {"meta.epochs": 2}, {"personalize.steps": 1}):
        check_resumable(replace(preset("tiny"), change), tmp_path)
    with pytest.raises(InputError, match=r"data\.short_clips = 'repeat', this one has 'skip'"):
        check_resumable(replace(preset("tiny"), {"data.short_clips": "skip"}), tmp_path)


def test_a_refusal_inside_tf_data_is_one_line_again():
    def fails(number, error):
        if number == 2:
            raise error
        return number

    for error, expected in ((InputError("x.tfrecord: damaged"), InputError), (KeyError("a"), None)):
        data = tf.data.Dataset.range(4).map(
            lambda number, error=error: tf.py_function(
                lambda n: fails(int(n), error), [number], tf.int64
            )
        )
        batches, taken = refusing(data), []
        with pytest.raises(expected or tf.errors.OpError) as raised:
            for number in batches:
                taken.append(int(number))
        assert taken == [0, 1]
        if expected:
            assert str(raised.value) == "x.tfrecord: damaged"
