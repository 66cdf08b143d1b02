"""Benchmark of the watermark: false positives, robustness, visibility and cost, on real clips.

Needs a folder of clips with a MANIFEST.csv (columns file, kind, person_id), named by the
environment variable TALKINGHEAD_REAL_DATA. The people are divided into two halves. The unmarked
clips and photos of the first half are searched for wrong keys, to set the threshold. The second
half is reported: pieces of their clips, cropped to a square, are marked, attacked (attacks.py) and
read with the public key. A clip shorter than a piece is played forwards and backwards. With
--option=results=FILE every measurement is kept in FILE, and the same command continues after an
interruption.
"""

import csv
import hashlib
import itertools
import json
import os
import pathlib

import cv2
import numpy as np
import tensorflow as tf
from skimage.metrics import structural_similarity

from tf_talkinghead.benchmark.attacks import ATTACKS, REQUIRED
from tf_talkinghead.benchmark.machine import median_seconds
from tf_talkinghead.data.video import read_video
from tf_talkinghead.errors import InputError
from tf_talkinghead.watermark import detection
from tf_talkinghead.watermark.embedding import Embedder, mark_frames
from tf_talkinghead.watermark.keys import PUBLIC_KEY
from tf_talkinghead.watermark.pattern import make_pattern
from tf_talkinghead.watermark.payload import avatar_id
from tf_talkinghead.watermark.search import coefficients, search, sync_score

OPTIONS = {
    "pieces": "marked pieces of the reported half; default: 300",
    "trials": "wrong-key trials on the unmarked clips and photos of the other half; default: 10000",
    "unmarked": "unmarked clips and photos searched for the right key; default: all",
    "seconds": "length of a piece; default: 10",
    "attacks": f"comma-separated, of {', '.join(ATTACKS)}; default: {', '.join(REQUIRED)}",
    "results": "file of JSON lines that measurements are kept in and continued from",
}
_SIZE, _FPS = 256, 25
_KEYS = 20  # wrong keys tried together
_READ = 100  # frames of a piece that the detector reads
DATA = "TALKINGHEAD_REAL_DATA"


def run(preset, options):
    """Measures the watermark, see the module docstring.

    Args:
      preset: not used.
      options: as in OPTIONS.

    Returns:
      {figure: number or text}.

    Raises:
      InputError: there is no folder of clips, or an option cannot be used.
    """
    del preset
    folder, rows = _manifest()
    halves = {True: [], False: []}
    for row in rows:
        halves[_sets_threshold(row["person_id"])].append(row)
    results = _Results(options.get("results"))
    seconds = float(options.get("seconds", 10))
    attacks = options.get("attacks", ",".join(REQUIRED)).split(",")
    if unknown := set(attacks) - set(ATTACKS):
        raise InputError(f"--option=attacks: no attack {', '.join(unknown)}; {OPTIONS['attacks']}")

    _wrong_keys(folder, halves[True], int(options.get("trials", 10_000)), results)
    everything = halves[True] + halves[False]
    _unmarked(folder, everything, int(options.get("unmarked", len(everything))), results)
    clips = [row for row in halves[False] if row["kind"] == "video"]
    _pieces(folder, clips, int(options.get("pieces", 300)), seconds, attacks, results)
    return {**summary(results.rows), **_cost()}


def summary(rows: list[dict]) -> dict:
    """The figures of measurements: shares with their 95 % interval, as text."""
    trials = [row for row in rows if row["kind"] == "wrong_keys"]
    places = np.concatenate([row["places"] for row in trials] or [[]])
    searches = np.concatenate([row["searches"] for row in trials] or [[]])
    figures = {"wrong_key_trials": float(len(searches))}
    if len(searches):
        found = (places >= detection.PLACE_THRESHOLD) | (searches >= detection.SEARCH_THRESHOLD)
        figures |= {
            "wrong_key_highest_place_score": float(places.max()),
            "wrong_key_highest_search_score": float(searches.max()),
            "wrong_key_found": share(int(found.sum()), len(found)),
        }
    for half in ("set", "report"):
        plain = [row for row in rows if row["kind"] == "unmarked" and row["half"] == half]
        if plain:
            figures[f"unmarked_found_{half}"] = share(sum(r["present"] for r in plain), len(plain))
    pieces = [row for row in rows if row["kind"] == "piece"]
    if pieces:
        figures["psnr_lowest"] = min(row["psnr"] for row in pieces)
        figures["psnr_mean"] = float(np.mean([row["psnr"] for row in pieces]))
        figures["ssim_lowest"] = min(row["ssim"] for row in pieces)
        figures["ssim_mean"] = float(np.mean([row["ssim"] for row in pieces]))
    for attack in ATTACKS:
        read = [row["attacks"][attack] for row in pieces if attack in row["attacks"]]
        if read:
            figures[f"{attack}_found"] = share(sum(r["present"] for r in read), len(read))
            figures[f"{attack}_id_right"] = share(sum(r["id"] == "right" for r in read), len(read))
            figures[f"{attack}_id_wrong"] = share(sum(r["id"] == "wrong" for r in read), len(read))
            figures[f"{attack}_score"] = "lowest {:.1f}, median {:.1f}".format(
                min(r["score"] for r in read), float(np.median([r["score"] for r in read]))
            )
    return figures


def share(count: int, total: int) -> str:
    """`count` of `total` as text, with the share and its 95 % interval (Wilson) in percent."""
    z, p = 1.96, count / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z * np.sqrt(p * (1 - p) / total + z * z / (4 * total**2)) / (1 + z * z / total)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{count} of {total}, {100 * p:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _wrong_keys(folder, rows, trials, results):
    done = sum(len(row["searches"]) for row in results.rows if row["kind"] == "wrong_keys")
    number = sum(row["kind"] == "wrong_keys" for row in results.rows)
    while done < trials:
        row, residuals = rows[number % len(rows)], None
        frames = _square_frames(folder / row["file"], _READ // 2)
        if frames is not None:
            residuals = detection.gather(frames)
            keys = [f"wrong key {number} {i}".encode() for i in range(_KEYS)]
            patterns = [make_pattern.__wrapped__(key) for key in keys]
            found = zip(*search(residuals, patterns), strict=True)  # a key's places at all scales
            searches = [
                _search_score(residuals, peaks, pattern)
                for peaks, pattern in zip(found, patterns, strict=True)
            ]
            places = [
                max(
                    sync_score(coefficients(canvas, pattern), pattern)
                    for canvas in residuals.canvases.values()
                )
                for pattern in patterns
            ]
            results.add(
                {
                    "kind": "wrong_keys",
                    "file": row["file"],
                    "searches": np.round(searches, 3).tolist(),
                    "places": np.round(places, 3).tolist(),
                }
            )
            done += _KEYS
        number += 1


def _search_score(residuals, peaks, pattern):
    """The score that a detector would compare with SEARCH_THRESHOLD."""
    score = max(peak.score for peak in peaks)
    if score < detection.CANDIDATE:
        return score
    return max(peak.score for peak, _ in detection.best_places(residuals, peaks, pattern))


def _unmarked(folder, rows, count, results):
    done = {row["file"] for row in results.rows if row["kind"] == "unmarked"}
    for row in rows[:: max(1, len(rows) // max(count, 1))][:count]:
        frames = None if row["file"] in done else _square_frames(folder / row["file"], _READ)
        if frames is not None:
            found = detection.detect(frames)
            half = "set" if _sets_threshold(row["person_id"]) else "report"
            results.add(
                {
                    "kind": "unmarked",
                    "file": row["file"],
                    "half": half,
                    "present": found.present,
                    "score": round(found.score, 3),
                }
            )


def _pieces(folder, clips, count, seconds, attacks, results):
    done = {(r["file"], r["turn"]) for r in results.rows if r["kind"] == "piece"}
    for number in range(count):
        row, turn = clips[number % len(clips)], number // len(clips)
        if (row["file"], turn) in done:
            continue
        length = round(seconds * _FPS)
        frames = _square_frames(folder / row["file"], length, skip=turn * length)
        if frames is None:
            continue
        identity = avatar_id(row["file"], str(turn))
        marked = mark_frames(frames, make_pattern(PUBLIC_KEY), identity)
        marked = forth_and_back(marked, length)
        quality = [_quality(frames[i], marked[i]) for i in (0, len(frames) // 2)]
        found = {name: _read(ATTACKS[name](list(marked)), identity) for name in attacks}
        results.add(
            {
                "kind": "piece",
                "file": row["file"],
                "turn": turn,
                "psnr": round(min(psnr for psnr, _ in quality), 3),
                "ssim": round(min(ssim for _, ssim in quality), 5),
                "attacks": found,
            }
        )


def forth_and_back(frames, length: int):
    """`length` frames: the film played forwards and backwards as often as needed."""
    turn = np.concatenate([np.arange(len(frames)), np.arange(len(frames) - 2, 0, -1)])
    return frames[np.resize(turn, length)]


def _read(frames, identity):
    found = detection.detect(frames[:: max(1, len(frames) // _READ)])
    kind = "none" if found.id is None else "right" if found.id == identity else "wrong"
    return {"present": found.present, "score": round(found.score, 2), "id": kind}


def _quality(frame, marked):
    error = np.mean((frame.astype(float) - marked) ** 2)
    ssim = structural_similarity(frame, marked, channel_axis=-1)
    return 10 * np.log10(255**2 / error), float(ssim)


def _square_frames(path, count, skip=0):
    """At most `count` frames after `skip`: their middle square at 256 px.

    None for a file that cannot be read, or whose shorter side is below 128 px.
    """
    frames = []
    try:
        for i, frame in enumerate(read_video(path).frames):
            if i >= skip + count:
                break
            side = min(frame.shape[:2])
            if side < _SIZE // 2:
                return None
            top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
            part = frame[top : top + side, left : left + side]
            way = cv2.INTER_AREA if side > _SIZE else cv2.INTER_LINEAR
            frames.append(cv2.resize(part, (_SIZE, _SIZE), interpolation=way))
    except InputError:
        return None
    # Where hardly a second is left after `skip`, the beginning of the clip is used again.
    frames = frames[skip:] if len(frames) > skip + 25 else frames[:count]
    return np.stack(frames) if frames else None


def _cost():
    """Milliseconds that marking adds to a frame of 256 px, in batches of 1 and 4."""
    figures = {}
    embedder = Embedder(make_pattern(PUBLIC_KEY), 1, _SIZE)
    for batch in (1, 4):
        frames = tf.random.uniform([batch, _SIZE, _SIZE, 3], 0, 255)
        embed = tf.function(embedder)
        seconds = median_seconds(lambda f=frames, e=embed: e(f), repeats=51)
        figures[f"mark_milliseconds_a_frame_batch_{batch}"] = 1000 * seconds / batch
    return figures


def _sets_threshold(person):
    """Whether a person belongs to the half of people that the threshold is set on."""
    return hashlib.sha256(person.encode()).digest()[0] % 2 == 0


def _manifest():
    folder = pathlib.Path(os.environ.get(DATA, ""))
    path = folder / "MANIFEST.csv"
    if not os.environ.get(DATA) or not path.is_file():
        raise InputError(
            f"this benchmark needs real clips: set {DATA} to a folder with MANIFEST.csv, whose "
            "columns are file, kind (video or photo) and person_id"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Clips and photos alternate while there are both, in an order that does not depend on the
    # names' alphabet.
    rows.sort(key=lambda row: hashlib.sha256(row["file"].encode()).digest())
    clips = [row for row in rows if row["kind"] == "video"]
    photos = [row for row in rows if row["kind"] != "video"]
    pairs = itertools.zip_longest(clips, photos)
    return folder, [row for pair in pairs for row in pair if row is not None]


class _Results:
    """Measurements, kept in a file of JSON lines where one is named."""

    def __init__(self, path):
        self._path, self.rows = path and pathlib.Path(path), []
        if self._path and self._path.exists():
            self.rows = [json.loads(line) for line in self._path.read_text().splitlines()]

    def add(self, row):
        """Keeps a measurement."""
        self.rows.append(row)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
