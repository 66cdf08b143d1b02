"""Recording of a live avatar, synchronous with the microphone's sound.

Frames and sound have times of the page's clock: of a frame, when the camera took the picture that
drives it; of sound, when it was heard. Both are written to a folder as they come and made into an
mp4 at the end; frames are repeated or left out for an even rate.
"""

import io
import pathlib
import shutil
import struct
import wave

import numpy as np
from PIL import Image

from tf_talkinghead.driving import film
from tf_talkinghead.errors import InputError
from tf_talkinghead.studio import films

FPS = 25.0
MAX_SECONDS = 600.0
_MAX_BYTES = 1 << 30
_RATES = (8_000, 96_000)  # samples a second
_GAP = 0.08  # seconds: a longer gap between two pieces of sound is filled with silence


class Recording:
    """Frames shown and sound heard since the recording began; closed by `make` or `drop`."""

    def __init__(self, folder: pathlib.Path):
        """Creates `folder`, which is removed at the end."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._frames = (folder / "frames").open("w+b")
        self._sound = (folder / "sound").open("w+b")
        self._places = []  # of each frame: page's seconds, offset, length
        self._rate, self._sound_from, self._samples = None, None, 0

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return self._places[-1][0] - self._places[0][0] if self._places else 0.0

    @property
    def full(self) -> bool:
        """Whether the recording has reached its largest length or size."""
        return self.seconds > MAX_SECONDS or self._frames.tell() > _MAX_BYTES

    def add_frame(self, moment: float, jpeg: bytes) -> None:
        """Adds a rendered frame; `moment` in the page's seconds. An older one is left out."""
        if self.full or (self._places and moment <= self._places[-1][0]):
            return
        self._places.append((moment, self._frames.tell(), len(jpeg)))
        self._frames.write(jpeg)

    def add_sound(self, moment: float, rate: int, samples: bytes) -> None:
        """Adds a piece of sound.

        Args:
          moment: time of its first sample, seconds of the page's clock.
          rate: samples a second.
          samples: int16, little-endian, one channel.

        Raises:
          InputError: a rate out of range, or another one than before.
        """
        if not _RATES[0] <= rate <= _RATES[1] or (self._rate or rate) != rate:
            raise InputError(f"sound: expected one rate of {_RATES[0]} to {_RATES[1]}, got {rate}")
        if self.full:
            return
        if self._rate is None:
            self._rate, self._sound_from = rate, moment
        missing = round((moment - self._sound_from) * rate) - self._samples
        if _GAP * rate < missing < MAX_SECONDS * rate:
            self._sound.write(bytes(2 * missing))
            self._samples += missing
        samples = samples[: len(samples) // 2 * 2]
        self._sound.write(samples)
        self._samples += len(samples) // 2

    def make(self, job, models, person: str, card: dict) -> dict:
        """Makes and publishes the film, and removes the folder.

        Returns:
          The film's entry, as in `films.listed`.

        Raises:
          InputError: nothing was recorded.
        """
        try:
            if len(self._places) < 2:
                raise InputError("nothing was recorded: the avatar did not move")
            sound = self._written_sound()
            frames = self._even_frames(job)
            write = lambda path: film.film(
                frames,
                lambda shown: iter(shown),
                path,
                FPS,
                audio_from=sound,
                title=f"{person}, AI-generated",
                progress=False,
            )
            facts = {"fps": FPS, "sound": sound is not None, "faceless": 0}
            return films.publish(job, models, person, card, write, facts)
        finally:
            self.drop()

    def drop(self) -> None:
        """Closes and removes the recorded files."""
        self._frames.close()
        self._sound.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _written_sound(self):
        """A WAV whose first sample belongs to the first frame's moment; None without sound."""
        if not self._samples:
            return None
        path = self._folder / "sound.wav"
        early = round((self._places[0][0] - self._sound_from) * self._rate)
        self._sound.seek(2 * max(early, 0))
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(self._rate)
            out.writeframes(bytes(2 * max(-early, 0)))
            while part := self._sound.read(1 << 20):
                out.writeframes(part)
        return path

    def _even_frames(self, job):
        times = np.array([place[0] for place in self._places]) - self._places[0][0]
        instants = np.arange(int(times[-1] * FPS) + 1) / FPS
        wanted = np.searchsorted(times, instants + 1e-6, side="right") - 1
        return _Frames(self._frames, self._places, wanted, job)


class _Frames:
    """Decoded frames of `wanted` positions, with a length."""

    def __init__(self, file, places, wanted, job):
        self._file, self._places, self._wanted, self._job = file, places, wanted, job

    def __len__(self):
        return len(self._wanted)

    def __iter__(self):
        last, picture = None, None
        for index in self._job.watched("writing the film", self._wanted, len(self._wanted)):
            if index != last:
                _, offset, length = self._places[index]
                self._file.seek(offset)
                picture = np.asarray(Image.open(io.BytesIO(self._file.read(length))).convert("RGB"))
                last = index
            yield picture


SOUND_HEAD = struct.Struct("<xdI")  # kind, page's milliseconds, samples a second


def sound_message(message: bytes) -> tuple[float, int, bytes]:
    """Moment in seconds, rate and samples of the page's message."""
    if len(message) < SOUND_HEAD.size:
        raise InputError("sound: expected a moment, a rate and samples")
    moment, rate = SOUND_HEAD.unpack_from(message)
    if not np.isfinite(moment):
        raise InputError("sound: expected a finite moment")
    return moment / 1e3, rate, message[SOUND_HEAD.size :]
