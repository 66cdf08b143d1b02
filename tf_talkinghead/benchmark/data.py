"""Benchmark of the data pipeline: video to records, and records to episodes.

The preparation stages run one after another on one thread, as in a preparation process, and their
CPU time is measured; frames per second and core is the number of frames over the sum. Then two
concurrent preparation processes are compared with one in wall time. Plain loops of dlib and FFmpeg
(scaling.py) are measured in the same way, alternating with them: the machine's own gain from a
second process is the upper bound for preparation. Run it on an otherwise idle machine. Episodes are
drawn through tf.data as in training, at the preset's image size and K.
"""

import dataclasses
import itertools
import pathlib
import resource
import tempfile
import time

import cv2
import numpy as np

from tf_talkinghead.benchmark import scaling
from tf_talkinghead.benchmark.landmark_accuracy import accuracy
from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.config import preset as preset_config
from tf_talkinghead.data import clip_worker, records, video
from tf_talkinghead.data.clip_process import ClipProcess, ForkServer
from tf_talkinghead.data.clip_worker import Job
from tf_talkinghead.data.dataset import INDEX_NAME, Dataset, Entry, to_json
from tf_talkinghead.data.episodes import episodes
from tf_talkinghead.data.listing import Clip, list_clips
from tf_talkinghead.errors import InputError
from tf_talkinghead.faces import cropping, crops, tracking

OPTIONS = {
    "clips": "folder of clips to prepare; default: a synthetic clip of a moving 512-px portrait",
    "dataset": "prepared dataset to draw episodes from; default: made from the synthetic clip",
    "frames": "frames of the synthesised clip; 128 by default",
    "episodes": "episodes to draw; 1000 by default",
    "shots": "K; the preset's by default",
    "rounds": "repetitions, of which the median is reported; 3 by default",
    "size": "pixels of records and episodes; the preset's by default",
}
_SIDE = 512  # pixels of the synthesised clip
_COUNTS = {"one_process": 1, "two_processes": 2}
_SECONDS = 1.0  # duration of one timing of a plain loop


def run(preset, options):
    """Measures preparation and episodes, see the module docstring.

    Args:
      preset: name of the configuration preset.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.

    Raises:
      InputError: an option has a wrong value, or there are no clips.
    """
    config = preset_config(preset)
    size, frames = (
        _positive(options, "size", config.model.image_size),
        _positive(options, "frames", 128),
    )
    count, shots = (
        _positive(options, "episodes", 1000),
        _positive(options, "shots", config.meta.shots),
    )
    rounds, data = _positive(options, "rounds", 3), PreparationConfig(size=size, max_frames=frames)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if "clips" in options:
            root = pathlib.Path(options["clips"])
            names = [clip.name for clip in list_clips(root)[0]]
            said = f"{len(names)} clips of {root}"
        else:
            root, names = folder, ["portrait.mp4"]
            _write_portrait(folder / names[0], frames)
            said = f"synthesised: a portrait moved about, {frames} frames of {_SIDE} px"
        paths = [root / name for name in names]
        result = {"footage": said, "record_size_px": float(size), **_stages(paths, data, rounds)}
        result.update(
            accuracy(
                [path for path in paths if path.suffix.lower() in video.VIDEO_SUFFIXES],
                crops.default_landmarks(),
                data.detect_every,
            )
        )
        result.update(_side_by_side(root, names, data, folder, rounds))
        dataset = options.get("dataset") or _dataset(root / names[0], data, folder)
        result["dataset"] = options.get("dataset", "synthesised: 64 copies of one clip")
        result.update(_episodes(dataset, config, size, shots, count))
    return result


def _stages(paths, data, rounds):
    """CPU milliseconds per frame of each stage, median over `rounds` passes through all clips."""
    model, threads = crops.default_landmarks(), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        model.detect(next(video.read_video(paths[0]).frames))
        turns = [_round_of_stages(paths, data, model) for _ in range(rounds)]
    finally:
        cv2.setNumThreads(threads)
    figures = {
        f"{stage}_ms_per_frame": float(np.median([turn[stage] for turn in turns]))
        for stage in turns[0]
    }
    return {"prepared_frames_per_second_and_core": 1e3 / sum(figures.values()), **figures}


def _round_of_stages(paths, data, model):
    """CPU milliseconds per frame of each stage, in one pass through all clips."""
    spent, frames = {}, 0
    for path in paths:
        clock = _Clock(spent)
        source = video.probe(path)
        wanted = video.spread(source.times, data.max_frames)
        images = list(video.decode(source, wanted))
        clock.lap("decode")
        main = tracking.main_track(
            tracking.follow_faces(images, model, data.detect_every, wanted).tracks, len(images)
        )
        clock.lap("landmarks")
        points = np.stack(main.points)
        box = cropping.crop_box(points, data)
        crops = [cropping.crop(images[position], box, data.size) for position in main.positions]
        clock.lap("crop")
        encoded = [records.encode_frame(crop, data.jpeg_quality) for crop in crops]
        fractions = cropping.to_fractions(points, box)
        records.serialize(
            records.Record(encoded, fractions, path.name, path.name, "", source.fps, box)
        )
        clock.lap("encode")
        frames += len(images)
    return {stage: 1e3 * seconds / frames for stage, seconds in spent.items()}


class _Clock:
    """Accumulates CPU time per stage in the dict `spent`, seconds."""

    def __init__(self, spent):
        self.spent, self.last = spent, time.process_time()

    def lap(self, stage):
        now = time.process_time()
        self.spent[stage] = self.spent.get(stage, 0.0) + now - self.last
        self.last = now


def _side_by_side(root, names, data, folder, rounds):
    """Frames per second of one and of two preparation processes on the same clips.

    Process start-up is not counted.
    """
    jobs = [Job(str(root), str(folder / f"work-{i}" / "clips"), data) for i in range(2)]
    server = ForkServer(jobs[0])
    processes = [ClipProcess(job, server.address) for job in jobs]
    clips = [
        Clip(name, "", "") for name in itertools.islice(itertools.cycle(names), max(2, len(names)))
    ]
    workers = [
        lambda process=process: [process.prepare(clip) for clip in clips] for process in processes
    ]
    for process in processes:
        process.prepare(clips[0])
    pairs = {kernel: scaling.Pair(kernel, root / names[0]) for kernel in scaling.KERNELS}
    turns = []
    for _ in range(rounds):
        turn = {
            f"frames_per_second_by_{name}": count / scaling.timed(workers[:count])
            for name, count in _COUNTS.items()
        }
        turn["two_processes_over_one"] = (
            turn["frames_per_second_by_two_processes"] / turn["frames_per_second_by_one_process"]
        )
        turn.update(
            {
                f"machine_two_over_one_{kernel}": pair.over_one(_SECONDS)
                for kernel, pair in pairs.items()
            }
        )
        turns.append(turn)
    for process in (*processes, server, *pairs.values()):
        process.close()
    kept = sum(clip_worker.read_outcome(jobs[0].work, clip.name).frames for clip in clips)
    figures = {name: float(np.median([turn[name] for turn in turns])) for name in turns[0]}
    return {
        name: value * (kept if name.startswith("frames") else 1) for name, value in figures.items()
    }


def _episodes(dataset, config, size, shots, count):
    """Episodes per second, share of JPEG decoding in their CPU time, and memory growth."""
    config = dataclasses.replace(
        config,
        model=_sized(config.model, size),
        meta=dataclasses.replace(config.meta, shots=shots),
    )
    batch = 8
    iterator = iter(episodes(dataset, config, batch, seed=0))
    for _ in range(4):
        next(iterator)
    steps = max(2, count // batch)
    start, busy, memory = time.perf_counter(), time.process_time(), []
    for _ in range(steps):
        next(iterator)
        memory.append(_resident_megabytes())
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    decode = _decode_seconds(dataset) * (shots + 1)
    return {
        "episode_shots": float(shots),
        "episodes_per_second": steps * batch / seconds,
        "episode_cpu_ms": 1e3 * busy / (steps * batch),
        "episode_decode_cpu_ms": 1e3 * decode,
        "episode_decode_share": decode / (busy / (steps * batch)),
        "episodes_drawn": float(steps * batch),
        "episode_memory_mb_first_tenth": float(np.max(memory[: max(1, steps // 10)])),
        "episode_memory_mb_last_tenth": float(np.max(memory[-max(1, steps // 10) :])),
    }


def _sized(model, size):
    """A copy of a ModelConfig with another image size, without its checks.

    No network is built from it, so the number of levels need not match the size.
    """
    changed = object.__new__(type(model))
    for name, value in vars(model).items():
        object.__setattr__(changed, name, size if name == "image_size" else value)
    return changed


def _decode_seconds(folder):
    from tf_talkinghead.data.dataset import load_dataset

    dataset = load_dataset(folder)
    frames = [frame for entry in dataset.clips[:4] for frame in dataset.read(entry).frames[:64]]
    start = time.thread_time()
    for frame in frames:
        records.decode_frame(frame)
    return (time.thread_time() - start) / len(frames)


def _dataset(path, data, folder):
    """Writes a dataset of 64 copies of one clip of 64 frames to `folder`."""
    clip = crops.face_crops(video.read_video(path, 64).frames, data.size, data)
    frames = [records.encode_frame(image, data.jpeg_quality) for image in clip.images]
    names = [f"{i}.mp4" for i in range(64)]
    made = (
        records.serialize(records.Record(frames, clip.landmarks, name, name, name, 25.0, clip.box))
        for name in names
    )
    places = records.write_shard(folder / "clips.tfrecord", made)
    entries = [
        Entry(name, row, 0, offset, length, len(frames), 0.0, (0.0, 0.0, 0.0))
        for row, (name, (offset, length)) in enumerate(zip(names, places))
    ]
    dataset = Dataset(
        folder,
        {"size": data.size},
        [(name, name) for name in names],
        ["clips.tfrecord"],
        entries,
        0,
    )
    (folder / INDEX_NAME).write_text(to_json(dataset))
    return folder


def _write_portrait(path, count):
    """Writes a clip of the portrait that ships with scikit-image, shifted and rotated over time."""
    from skimage import data as pictures

    portrait, frames = pictures.astronaut(), []
    for t in range(count):
        place = cv2.getRotationMatrix2D((225, 130), 5 * np.sin(t / 9), _SIDE / 256)
        place[:, 2] += np.array(
            [_SIDE / 2 - 225 + 20 * np.sin(t / 13), _SIDE / 2 - 130 + 12 * np.sin(t / 7)]
        )
        frames.append(
            cv2.warpAffine(portrait, place, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
        )
    video.write_video(path, frames, 25)


def _resident_megabytes():
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _positive(options, name, default):
    text = options.get(name, default)
    value = int(text) if str(text).isdigit() else 0
    if value < 1:
        raise InputError(f"--option={name}={text}: expected a positive whole number")
    return value
