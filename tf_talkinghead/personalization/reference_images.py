"""Reference images of one person: the photos and clips a user names, cropped, checked and selected.

    found = person_images(["photos/", "clip.mp4"], shots=None, size=128, config=trained.preparation)
    found.images uint8 [T, size, size, 3], found.landmarks float32 [T, 68, 2]

Errors name the file: missing, unreadable, without a face, with several faces, of different people,
or fewer images than asked for. `force` takes the largest face and lets people differ.
"""

import pathlib
from dataclasses import dataclass, field

import numpy as np

from tf_talkinghead.config import PersonalizeConfig, PreparationConfig
from tf_talkinghead.data.video import decode, is_media, probe, spread
from tf_talkinghead.errors import InputError, NoFaceError
from tf_talkinghead.faces.cropping import CropBox
from tf_talkinghead.faces.crops import default_landmarks, face_crops
from tf_talkinghead.faces.recognition import face_distance, face_vectors
from tf_talkinghead.files import sha256
from tf_talkinghead.personalization.frame_selection import select_frames
from tf_talkinghead.personalization.photos import resized_photos

CLIP_FRAMES = 160  # used of one video, evenly spaced
# Face distance above which two faces are two people. Over 173 public clips and photos of 109 people
# it refused none of 390 pairs of one person (the farthest were 0.60 apart) and missed 2.5 % of
# 39,513 pairs of two; dlib's own 0.6 leaves no room. Eight varied frames of one clip were at most
# 0.53 from the median one, in 55 clips.
DIFFERENT_PEOPLE = 0.62
_COMPARED_FRAMES = 8  # varied frames of one clip that are compared with one another
_SECOND_FACE = 0.5  # of the largest face's size; smaller ones are in the background


@dataclass(frozen=True)
class Origin:
    """Where one image was cut from."""

    path: pathlib.Path  # the photo or video
    frame: int  # position in the video; 0 for a photo
    box: CropBox  # pixels of the upright picture


@dataclass
class PersonImages:
    """The images that personalisation starts from."""

    images: np.ndarray  # uint8 [T, S', S', 3]: of the size asked for, or the crops' own
    landmarks: np.ndarray  # float32 [T, 68, 2], fractions
    names: list[str]  # of the file each came from
    sha256: list[str]  # of the files, in the order found
    origins: list[Origin] = field(default_factory=list)  # empty for kept crops (kept_crops.py)


def person_images(
    paths,
    shots: int | None,
    size: int,
    config: PreparationConfig,
    model=None,
    force: bool = False,
    default_shots: int = PersonalizeConfig.shots,
    largest: int | None = None,
) -> PersonImages:
    """Crops of the one person in `paths`: the sharp images that differ most.

    Args:
      paths: photos, folders and videos.
      shots: number of images; None: `default_shots`, or all where there are fewer.
      size: H = W of the crops in pixels.
      config: PreparationConfig, how faces are cropped.
      model: landmark model; None: dlib's.
      force: take the largest of several faces, and let the images be of different people.
      default_shots: used where `shots` is None.
      largest: in place of `size`: all crops get the size of the largest, at most so many pixels.

    Raises:
      InputError: a file cannot be used, files show several people, or there are fewer than `shots`
        images; the message names the file.
      NoFaceError: a file shows no face.
    """
    model = model or default_landmarks()
    if shots is not None and shots < 1:
        raise InputError(f"--shots={shots}: expected 1 or more")
    files = list_files(paths)
    parts, origins, labels, digests = [], [], [], []
    for path in files:
        clip, frames, times = file_crops(path, size, config, model, force, largest)
        parts.append(clip)
        origins += [Origin(path, int(frame), clip.box) for frame in frames]
        labels.append(
            [f"{path} at {time:.1f} s" if len(times) > 1 else str(path) for time in times]
        )
        digests.append(sha256(path.read_bytes()))
    size = max(clip.images.shape[1] for clip in parts)
    if not force:
        for clip, label in zip(parts, labels, strict=True):
            # A film may cut from one person to another.
            varied = select_frames(clip.images, clip.landmarks, _COMPARED_FRAMES)
            check_one_person([(label[i], clip.images[i], clip.landmarks[i]) for i in varied])
        middles = []
        for path, clip in zip(files, parts, strict=True):
            middle = len(clip.images) // 2
            (image,) = resized_photos(clip.images[[middle]], size)
            middles.append((path, image, clip.landmarks[middle]))
        check_one_person(middles)
    images = np.concatenate([resized_photos(clip.images, size) for clip in parts])
    landmarks = np.concatenate([clip.landmarks for clip in parts])
    if shots is not None and shots > len(images):
        raise InputError(
            f"--shots={shots}: only {len(images)} usable image{'s' if len(images) > 1 else ''}"
            f" in {', '.join(map(str, paths))}"
        )
    chosen = select_frames(images, landmarks, shots or default_shots)
    origins = [origins[i] for i in chosen]
    names = [origin.path.name for origin in origins]
    return PersonImages(images[chosen], landmarks[chosen], names, digests, origins)


def list_files(paths) -> list[pathlib.Path]:
    """Files, and the photos and videos in folders, by name; InputError where there are none."""
    files = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            inside = sorted(
                entry
                for entry in path.iterdir()
                if entry.is_file() and is_media(entry) and not entry.name.startswith(".")
            )
            if not inside:
                raise InputError(f"{path}: no photos or videos in this folder")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    if not files:
        raise InputError("--images: expected photos, folders or videos of one person, got none")
    return files


def check_one_person(faces) -> None:
    """InputError naming the two faces that differ most, if they are of different people.

    faces: a list of (file or frame, image uint8 [S, S, 3], landmarks [68, 2]).
    """
    if len(faces) < 2:
        return
    vectors = face_vectors(
        np.stack([image for _, image, _ in faces]), np.stack([points for _, _, points in faces])
    )
    distances = face_distance(vectors[:, None], vectors[None])
    middle = int(np.median(distances, axis=1).argmin())
    other = int(distances[middle].argmax())
    if distances[middle, other] > DIFFERENT_PEOPLE:
        raise InputError(
            f"{faces[other][0]} and {faces[middle][0]} look like different people (face distance"
            f" {distances[middle, other]:.2f}, one person: below {DIFFERENT_PEOPLE}); remove the"
            " wrong ones, or say --force"
        )


def file_crops(path, size, config, model=None, force=False, largest=None):
    """One photo or video: FaceClip, its frames' positions and seconds. Errors name the file."""
    model = model or default_landmarks()
    source = probe(path)
    wanted = spread(source.times, CLIP_FRAMES)
    frames = list(decode(source, wanted, threads=0))
    if not frames:
        raise InputError(f"{path}: no frames in it")
    if not force:
        several = [frames[i] for i in sorted({0, len(frames) // 2, len(frames) - 1})]
        counts = [_faces_in(frame, model) for frame in several]
        if min(counts) > 1:
            raise InputError(
                f"{path}: {min(counts)} faces; crop to one person, or say --force to take the"
                " largest"
            )
    try:
        clip = face_crops(frames, size, config, model, wanted, largest)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    kept = wanted[clip.kept]
    return clip, kept, source.times[kept]


def _faces_in(frame, model):
    """Number of faces of about the largest one's size."""
    faces = model.detect(frame)
    return sum(face.square.side >= _SECOND_FACE * faces[0].square.side for face in faces)
