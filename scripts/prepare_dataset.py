"""Prepares training records from a folder of videos and photos.

    python -m scripts.prepare_dataset --input=VoxCeleb2 --output=datasets/voxceleb2
    python -m scripts.prepare_dataset --input=clips --output=datasets/mine \\
        --manifest=clips/people.csv --where=licence=open

After an interruption the same command continues; for a finished dataset it adds new clips.
Arguments after `--` are passed to Apache Beam: `-- --runner=FlinkRunner --flink_master=HOST:8081`.
"""

import dataclasses

from absl import flags

from scripts import command
from tf_talkinghead.config import PreparationConfig

_DEFAULT = PreparationConfig()
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of videos and photos: a VoxCeleb tree, or one sub-folder per person."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the dataset.")
_SIZE = flags.DEFINE_integer(
    "size", _DEFAULT.size, "Side of the square frames in pixels.", lower_bound=16
)
_MAX_FRAMES = flags.DEFINE_integer(
    "max_frames", _DEFAULT.max_frames, "Frames per clip, evenly spaced.", lower_bound=1
)
_MANIFEST = flags.DEFINE_string(
    "manifest", None, "CSV with the columns file and person_id, instead of the folder rule."
)
_WHERE = flags.DEFINE_string("where", None, "column=value: take only these rows of the manifest.")
_CLIPS_PER_SHARD = flags.DEFINE_integer(
    "clips_per_shard", _DEFAULT.clips_per_shard, "Clips per record file.", lower_bound=1
)
_WORKERS = flags.DEFINE_integer(
    "workers", 0, "Number of processes; 0 for one per core.", lower_bound=0
)
_LANDMARK_MODEL = flags.DEFINE_string(
    "landmark_model", None, "A 68-point predictor in dlib's format; default: the packaged one."
)
flags.mark_flags_as_required(["input", "output"])


def main(argv):
    command.load("apache_beam")
    from tf_talkinghead.data.prepare import prepare

    config = dataclasses.replace(
        _DEFAULT,
        size=_SIZE.value,
        max_frames=_MAX_FRAMES.value,
        clips_per_shard=_CLIPS_PER_SHARD.value,
    )
    dataset = prepare(
        _INPUT.value,
        _OUTPUT.value,
        config,
        manifest=_MANIFEST.value,
        where=_WHERE.value,
        landmark_model=_LANDMARK_MODEL.value,
        workers=_WORKERS.value,
        beam_args=argv[1:],
    )
    frames = sum(entry.frames for entry in dataset.clips)
    print(
        f"{dataset.folder}: {len(dataset.clips)} clips, {frames} frames, "
        f"{len(dataset.identities)} people"
    )


if __name__ == "__main__":
    command.run(main)
