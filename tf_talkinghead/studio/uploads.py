"""Uploads of visitors: size, kind, pixels and length are bounded before anything is decoded.

The kind of a file is told by its first bytes, not by its name; it is stored under another name.
"""

import contextlib
import pathlib
import re

from PIL.Image import DecompressionBombError
from starlette.requests import Request

from tf_talkinghead.data.photos import MAX_PIXELS, PHOTO_SUFFIXES
from tf_talkinghead.data.probe import probe
from tf_talkinghead.errors import InputError
from tf_talkinghead.files import Damaged, parse_json

MAX_PHOTO_BYTES = 40 << 20
MAX_FILM_BYTES = 1 << 30
MAX_CLIP_BYTES = 200 << 20  # of a clip that a person is made from
MAX_FILM_SECONDS = 600.0
MAX_FILM_PIXELS = 9_000_000  # of one frame: 4K is 8.8 million
MAX_TEXT_BYTES = 64 << 10  # of a JSON message

# First bytes of the kinds of file that are accepted -> the suffix they are stored under.
_KINDS = (
    (re.compile(rb"\xff\xd8\xff"), ".jpg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), ".png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), ".webp"),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), ".avi"),
    (re.compile(rb"....ftyp", re.DOTALL), ".mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), ".mkv"),
    (re.compile(rb"GIF8[79]a"), ".gif"),
    (re.compile(rb"\x00\x00\x01[\xba\xb3]"), ".mpg"),
)
_EXPECTED = "a JPEG, PNG or WebP picture, or an MP4, MOV, WebM, MKV, AVI, MPEG or GIF film"


def shown_name(name: str) -> str:
    """A visitor's file name for display: printable, without folders, at most 80 characters."""
    name = pathlib.PurePosixPath(name.replace("\\", "/")).name
    return "".join(c for c in name if c.isprintable())[:80] or "the file"


def object_of(text: str | bytes) -> dict:
    """A message's JSON object; InputError for anything else."""
    try:
        given = parse_json(text)
    except Damaged:
        given = None
    if not isinstance(given, dict):
        raise InputError("expected a message as a JSON object")
    return given


async def receive(
    request: Request,
    folder: pathlib.Path,
    stem: str,
    name: str,
    most_film: int | None = None,
) -> pathlib.Path:
    """Stores a request's body as `folder/stem.SUFFIX`, at most as large as its kind may be.

    Args:
      request: its body is the file.
      folder: where the file is stored.
      stem: the stored name, without suffix.
      name: the visitor's name of the file, for errors.
      most_film: bytes that a film may have; None: MAX_FILM_BYTES.

    Raises:
      InputError: another kind of file, too large, or empty; nothing is left of it.
    """
    path, written, most, file = None, 0, 0, None
    try:
        async with contextlib.aclosing(request.stream()) as chunks:
            head = b""
            async for chunk in chunks:
                if file is None:
                    head += chunk
                    if len(head) < 16:
                        continue
                    path = folder / (stem + _suffix(head, name))
                    most = most_film or MAX_FILM_BYTES
                    if path.suffix in PHOTO_SUFFIXES:
                        most = MAX_PHOTO_BYTES
                    _check_length(int(request.headers.get("content-length") or 0), most, name)
                    file, chunk = path.open("wb"), head
                written += len(chunk)
                _check_length(written, most, name)
                file.write(chunk)
        if file is None:
            raise InputError(f"{name}: " + ("empty" if not head else f"expected {_EXPECTED}"))
        file.close()
        return path
    except BaseException:
        if file is not None:
            file.close()
            path.unlink(missing_ok=True)
        raise


def check_content(path: pathlib.Path, name: str) -> bool:
    """Checks pixels and length by the file's own header; returns whether it is a film.

    Raises:
      InputError: too many pixels, too long, or unreadable.
    """
    try:
        source = probe(path)
    except InputError as error:
        if isinstance(error.__cause__, DecompressionBombError):
            error = f"{name}: enormous; at most {MAX_PIXELS // 1_000_000} million pixels are taken"
        raise InputError(str(error).replace(str(path), name)) from None
    if path.suffix in PHOTO_SUFFIXES:
        return False
    seconds = float(source.times[-1] - source.times[0])
    if seconds > MAX_FILM_SECONDS:
        raise InputError(
            f"{name}: {seconds / 60:.0f} minutes long; at most {MAX_FILM_SECONDS / 60:.0f} are "
            "taken: cut it first"
        )
    width, height = _film_size(path)
    if width * height > MAX_FILM_PIXELS:
        raise InputError(f"{name}: {width} x {height} pixels; a film may have 4096 x 2160")
    return True


def _film_size(path):
    import av

    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return context.width, context.height


def _suffix(head, name):
    for pattern, suffix in _KINDS:
        if pattern.match(head):
            return suffix
    raise InputError(f"{name}: expected {_EXPECTED}; the file's content is something else")


def _check_length(count, most, name):
    if count > most:
        raise InputError(f"{name}: larger than {most >> 20} MB")


def limits() -> dict:
    """The limits that the page shows."""
    return {
        "photo_mb": MAX_PHOTO_BYTES >> 20,
        "film_mb": MAX_FILM_BYTES >> 20,
        "film_minutes": MAX_FILM_SECONDS / 60,
        "photo_megapixels": MAX_PIXELS // 1_000_000,
    }
