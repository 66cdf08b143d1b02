"""Films of the studio: an avatar driven by a file, kept beside the avatar until deleted.

A film lies in <models>/.work/PERSON/films/, so it goes with the person. It is signed and marked as
AI-generated before it has a name that the page lists.
"""

import json
import pathlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from tf_talkinghead.config import PreparationConfig
from tf_talkinghead.disclosure.credentials import sign_made
from tf_talkinghead.driving import driver, film, paste_back, retargeting
from tf_talkinghead.driving.expression import Expression
from tf_talkinghead.driving.strengths import UNCHANGED, Steering
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store
from tf_talkinghead.files import write_atomically

_ID = re.compile(r"[0-9a-f]{16}")
ROWS = 4  # frames of one request, as scripts.drive has it
_IN_TURN = 1.0  # seconds of sleep per second of rendering, while somebody drives live


@dataclass(frozen=True)
class Wanted:
    """The settings of a film."""

    steering: Steering = UNCHANGED
    more: Expression | None = None
    paste_back: bool = False
    side_by_side: bool = False


def folder_of(models, person: str) -> pathlib.Path:
    """The folder of a person's films."""
    return store.work_dir(models, store.check_name(person)) / "films"


def path_of(models, person: str, name: str) -> pathlib.Path:
    """The mp4 of a film's id; InputError where there is none."""
    path = folder_of(models, person) / f"{name}.mp4"
    if not _ID.fullmatch(name) or not path.is_file():
        raise InputError("there is no such film; it may have been deleted")
    return path


def listed(models, person: str) -> list[dict]:
    """A person's films, newest first, as the page shows them."""
    found = []
    for path in folder_of(models, person).glob("*.mp4"):
        note = path.with_suffix(".json")
        if _ID.fullmatch(path.stem) and note.is_file():
            found.append({**json.loads(note.read_text()), "id": path.stem, "person": person})
    return sorted(found, key=lambda entry: -entry["made"])


def delete(models, person: str, name: str) -> None:
    """Removes one film."""
    path = path_of(models, person, name)
    path.unlink()
    path.with_suffix(".json").unlink(missing_ok=True)


def drive(job, gallery, person: str, source, wanted: Wanted, busy: Callable[[], bool]) -> dict:
    """Drives an avatar with a film or photo.

    Args:
      job: `jobs.Job` that is told of the progress.
      gallery: `gallery.Gallery`.
      person: the avatar.
      source: the driver's file.
      wanted: the film's settings.
      busy: () -> whether somebody drives live; this then pauses for half of the time.

    Returns:
      The film's entry, as in `listed`.

    Raises:
      InputError: the file shows no face, or the settings do not fit the avatar.
    """
    client, card, face = gallery.client(person), gallery.card(person), gallery.face(person)
    ground = _ground(gallery.models, person, card) if wanted.paste_back else None
    motion = driver.read_driver(
        source,
        PreparationConfig(),
        progress=False,
        gaze=face.gaze,
        watch=lambda frames, total: job.watched("following the face", _fair(frames, busy), total),
    )
    points = retargeting.on_avatar(motion, face, wanted.steering)
    points = retargeting.steered(points, face.points, UNCHANGED, wanted.more, face.gaze)
    rows = min(ROWS, card.get("max_batch_size", ROWS))
    stream = lambda landmarks: job.watched(
        "rendering", client.stream(_fair(landmarks, busy), rows), len(points)
    )
    beside = (lambda size: driver.driver_crops(motion, size)) if wanted.side_by_side else None

    def write(path):
        return film.film(
            points,
            stream,
            path,
            motion.fps,
            beside=beside,
            onto=ground.pasted if ground else None,
            audio_from=source if motion.has_audio else None,
            title=f"{person}, AI-generated",
            progress=False,
        )

    facts = {"fps": motion.fps, "sound": motion.has_audio, "faceless": int((~motion.seen).sum())}
    return publish(job, gallery.models, person, card, write, facts, source)


def publish(job, models, person, card, write, facts: dict, source=None) -> dict:
    """Writes a film by `write(path)`, signs it and adds it to the list.

    Args:
      job: `jobs.Job` that is told of the stages; its title becomes the film's.
      models: folder of all models.
      person: whose film.
      card: the avatar's card.
      write: path -> `film.Film`.
      facts: fps, sound and the like, for the list.
      source: the driver's file, whose SHA-256 goes into the manifest.

    Returns:
      The film's entry, as in `listed`.
    """
    name, folder = secrets.token_hex(8), folder_of(models, person)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.mp4"
    try:
        made = write(partial)
        if made.error is not None:
            raise made.error
        job.stage("signing")
        sign_made(partial, card, source)
        note = {
            "title": job.title,
            "made": round(time.time(), 1),
            "frames": made.frames,
            "seconds": round(made.frames / facts["fps"], 2),
            **facts,
        }
        write_atomically(folder / f"{name}.json", json.dumps(note).encode())
        partial.rename(folder / f"{name}.mp4")
    finally:
        partial.unlink(missing_ok=True)
    return {**note, "id": name, "person": person}


def _fair(items, busy):
    """The items; while `busy()`, with a pause before each that is as long as the last one took."""
    last = time.monotonic()
    for item in items:
        if busy():
            time.sleep(min(_IN_TURN * (time.monotonic() - last), 0.5))
        last = time.monotonic()
        yield item


def _ground(models, person, card):
    if not card.get("crop"):
        raise InputError(
            f"the card of {person} does not say where the face lies in its picture: make the "
            "avatar again"
        )
    path = paste_back.kept_ground(store.places(models, person))
    if path is None:
        raise InputError(
            f"the whole photo of {person} is not kept on this machine: choose the square alone"
        )
    return paste_back.open_ground(path, card["crop"])


def wanted_of(given: dict) -> Wanted:
    """`Wanted` of the page's message; InputError for impossible settings."""
    from tf_talkinghead.studio.controls import expression_of, steering_of

    wanted = Wanted(
        steering_of(given.get("strengths") or {}),
        expression_of(given.get("expression") or {}),
        given.get("paste_back") is True,
        given.get("side_by_side") is True,
    )
    if wanted.paste_back and wanted.side_by_side:
        raise InputError("choose either the whole photo or side by side, not both")
    return wanted
