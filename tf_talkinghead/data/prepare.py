"""Preparation of a dataset from a folder of videos: a Beam pipeline over clips, one over shards.

    prepare("videos/", "datasets/mine", PreparationConfig())

Intermediate results are in `<output>/.work`: one outcome per clip (clip_worker.py) and one note per
shard. A preparation that was interrupted continues from them when started again; `dataset.json` is
written last. The result depends on the input and the settings alone, not on the number of workers
or on interruptions. If the output is a finished dataset, clips that it lacks are added in new
shards, and rejected ones are tried again.
"""

import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Sequence

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.data import clip_worker, listing
from tf_talkinghead.data.clip_worker import Job, Outcome, read_outcome
from tf_talkinghead.data.listing import Rejection
from tf_talkinghead.data.output import locked, read_rejected, write_rejected
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces.landmarks import DlibLandmarks
from tf_talkinghead.files import write_atomically

WORK_NAME = ".work"


def prepare(
    root,
    output,
    config: PreparationConfig,
    manifest=None,
    where: str | None = None,
    landmark_model: str | None = None,
    workers: int = 0,
    beam_args: Sequence[str] = (),
    progress: bool = True,
):
    """Prepares the clips below `root` into the folder `output`.

    Args:
      root: folder of videos and photos.
      output: folder of the dataset.
      config: settings of the preparation.
      manifest, where: as in listing.list_clips.
      landmark_model: path of another 68-point shape predictor in dlib's format.
      workers: number of local processes; 0 means one per core.
      beam_args: Beam's flags for another runner (such as --runner=FlinkRunner); every worker must
        reach both folders by the same paths.
      progress: whether to show progress bars.

    Returns:
      The Dataset.

    Raises:
      InputError: nothing to prepare, no usable clip, an output that cannot be written or was made
        with other settings, a full disk. The next call continues from what was done so far.
    """
    root, output = pathlib.Path(root).absolute(), pathlib.Path(output).absolute()
    clips, rejected = listing.list_clips(root, manifest, where)
    if root in output.parents:  # the output is inside the input folder: its files are no input
        clips = [clip for clip in clips if output not in (root / clip.name).parents]
        rejected = [
            rejection for rejection in rejected if output not in (root / rejection.file).parents
        ]
    if landmark_model:
        DlibLandmarks(landmark_model)  # an unusable file is an error here, not once per clip
    if beam_args:
        _pipeline().check_runner(beam_args)
    work = output / WORK_NAME
    with locked(work):
        # Imported after the quick checks, since it loads TensorFlow.
        from tf_talkinghead.data import dataset as index

        settings = _settings(config, landmark_model)
        before = index.load_dataset(output) if (output / index.INDEX_NAME).is_file() else None
        _check_settings(output, work, before, settings)
        known = {entry.clip for entry in before.clips} if before else set()
        new = [clip for clip in clips if clip.name not in known]
        job = Job(str(root), str(work / "clips"), config, landmark_model)
        outcomes = _outcomes(job, new, workers, beam_args, progress)
        rejected = sorted(rejected + [Rejection(o.name, o.reason) for o in outcomes if o.reason])
        kept = [outcome for outcome in outcomes if not outcome.reason]
        if not kept and not known:
            write_rejected(output, rejected)
            raise InputError(
                f"--input={root}: no usable clip; see {output / 'rejected.csv'} "
                "for the reason of each"
            )
        shards = _shards(output, before, kept, config.clips_per_shard)
        places = _pipeline().run_shards(job, output, shards, workers, beam_args, progress)
        dataset = _publish(_dataset(output, settings, before, shards, places), rejected, known)
    shutil.rmtree(work, ignore_errors=True)
    return dataset


def _pipeline():
    """The module pipeline.py, imported with warnings off.

    Importing Beam warns of missing Google Cloud packages, which are not needed here.
    """
    logging.disable(logging.WARNING)
    try:
        from tf_talkinghead.data import pipeline
    finally:
        logging.disable(logging.NOTSET)
    return pipeline


def _settings(config, landmark_model):
    """The settings that records depend on, in the form that dataset.json stores."""
    model = "shape_predictor_68_face_landmarks.dat"
    if landmark_model:  # by its content too: another file may have the same name
        digest = hashlib.sha256(pathlib.Path(landmark_model).read_bytes()).hexdigest()
        model = f"{pathlib.Path(landmark_model).name} (sha256 {digest[:16]})"
    return {**dataclasses.asdict(config), "landmark_model": model}


def _check_settings(output, work, before, settings):
    """Raises InputError for an output made with other settings; else stores ours for a restart."""
    path = work / "settings.json"
    noted = None
    if before:
        noted = before.settings
    elif path.is_file():
        noted = json.loads(path.read_text("utf-8"))
    if noted is not None and noted != settings:
        names = sorted(
            name for name in {*noted, *settings} if noted.get(name) != settings.get(name)
        )
        changes = ", ".join(
            f"{name}={noted.get(name)} there and {settings.get(name)} now" for name in names
        )
        state = "a dataset" if before else "an unfinished dataset"
        remedy = (
            "choose another folder, or the same settings"
            if before
            else "choose another folder, or delete this one"
        )
        raise InputError(f"--output={output}: has {state} of other settings ({changes}): {remedy}")
    write_atomically(path, json.dumps(settings, indent=1).encode())


def _outcomes(job, clips, workers, beam_args, progress) -> list[Outcome]:
    """The outcome of each clip; prepares those that have none."""
    pending = [clip for clip in clips if not _is_done(job, clip)]
    _pipeline().run_clips(
        job, pending, workers, beam_args, progress, done=len(clips) - len(pending)
    )
    outcomes = [read_outcome(job.work, clip.name) for clip in clips]
    missing = [clip.name for clip, outcome in zip(clips, outcomes) if outcome is None]
    if missing:
        raise InputError(
            f"{len(missing)} clips were not prepared ({missing[0]}, ...): "
            "start again to go on with them"
        )
    return outcomes


def _is_done(job, clip):
    outcome = read_outcome(job.work, clip.name)
    if outcome is None or (outcome.identity, outcome.video) != (clip.identity, clip.video):
        return False
    return (
        bool(outcome.reason)
        or clip_worker.outcome_path(job.work, clip.name).with_suffix(".record").is_file()
    )


def _shards(output, before, kept, clips_per_shard):
    """File name -> outcomes of its clips, for the shards to be written."""
    groups = [
        kept[start : start + clips_per_shard] for start in range(0, len(kept), clips_per_shard)
    ]
    first = len(before.shards) if before else 0
    total = first + len(groups)
    return {
        f"clips-{first + i:05d}-of-{total:05d}.tfrecord": group for i, group in enumerate(groups)
    }


def _dataset(output, settings, before, shards, places):
    """The index of the earlier and the new shards; rows of W are only appended."""
    from tf_talkinghead.data.dataset import Dataset, Entry

    videos = list(before.videos) if before else []
    rows = {video: row for row, video in enumerate(videos)}
    names = list(before.shards) if before else []
    entries = list(before.clips) if before else []
    for name, group in shards.items():
        names.append(name)
        for outcome, (offset, length) in zip(group, places[name]):
            video = (outcome.identity, outcome.video)
            if video not in rows:
                rows[video] = len(videos)
                videos.append(video)
            entries.append(
                Entry(
                    clip=outcome.name,
                    video=rows[video],
                    shard=len(names) - 1,
                    offset=offset,
                    length=length,
                    frames=outcome.frames,
                    face=outcome.face,
                    angles=tuple(outcome.angles),
                    hard_calls=outcome.hard_calls,
                    unsure=outcome.unsure,
                )
            )
    return Dataset(output, settings, videos, names, entries, rejected=0)


def _publish(dataset, rejected, known):
    """Writes rejected.csv and preview.png, then dataset.json, which completes the dataset.

    Returns:
      The Dataset with its count of rejections.
    """
    from tf_talkinghead.data import dataset as index
    from tf_talkinghead.data import preview

    kept = {entry.clip for entry in dataset.clips}
    tried = {rejection.file for rejection in rejected}
    earlier = (
        [row for row in read_rejected(dataset.folder) if row.file not in kept | tried]
        if known
        else []
    )
    rejected = sorted(earlier + rejected)
    write_rejected(dataset.folder, rejected)
    dataset = dataclasses.replace(dataset, rejected=len(rejected))
    write_atomically(dataset.folder / "preview.png", preview.draw(dataset))
    write_atomically(dataset.folder / index.INDEX_NAME, index.to_json(dataset).encode())
    return dataset
