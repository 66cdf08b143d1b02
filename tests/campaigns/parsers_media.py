"""Parsers of pictures, videos and records."""

import io
import pathlib
import tempfile

from tests.campaigns import mutations
from tests.campaigns.parser import Parser, file_of, is_proto


def _opens(data):
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)):
            return True
    except Exception:
        return False


def _photo(suffix):
    def seeds():
        from PIL import Image
        from skimage import data

        picture, made = Image.fromarray(data.astronaut()[::8, ::8]), []
        for mode in ("RGB", "L", "P", "RGBA") if suffix == "png" else ("RGB",):
            stored = io.BytesIO()
            picture.convert(mode).save(stored, {"jpg": "jpeg"}.get(suffix, suffix))
            made.append(stored.getvalue())
        return made

    def parse(data):
        from tf_talkinghead.data.video import read_video

        with file_of(f"x.{suffix}", data) as path:
            list(read_video(path).frames)

    mutate = mutations.png if suffix == "png" else mutations.raw
    return Parser(seeds, mutate, parse, _opens)


def _video(suffix):
    def seeds():
        from skimage import data

        from tests.face_footage import moving_face
        from tf_talkinghead.data.video import write_video

        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.mp4"
            write_video(path, moving_face(data.astronaut(), 4, size=32), 25)
            if suffix == "mp4":
                return [path.read_bytes()]
            import av

            other = path.with_suffix(f".{suffix}")
            with av.open(str(path)) as source, av.open(str(other), "w") as target:
                stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(source.streams.video[0]):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
            return [other.read_bytes()]

    def parse(data):
        from tf_talkinghead.data.video import read_video

        with file_of(f"x.{suffix}", data) as path:
            list(read_video(path, max_frames=8).frames)

    def passes(data):
        import av

        try:
            with av.open(io.BytesIO(data)):
                return True
        except Exception:
            return False

    return Parser(seeds, mutations.raw, parse, passes)


def _records():
    from tf_talkinghead.data import records

    def seeds():
        from tests.test_records import make_record

        return [records.serialize(make_record(count=2)), records.serialize(make_record(count=1))]

    def mutate(rng, data):
        changed = mutations.proto(rng, data, records._Example)
        payloads = mutations.tfrecord([changed])
        return payloads if rng.random() < 0.9 else mutations.raw(rng, payloads)

    def parse(data):
        with file_of("x.tfrecord", data) as path:
            for record in records.read_records(path):
                record.images()

    is_example = is_proto(records._Example)
    whole = lambda data: data[8:12] == mutations._masked(data[:8]) and is_example(data[12:-4])
    return Parser(seeds, mutate, parse, whole)


PARSERS = {
    "png": lambda: _photo("png"),
    "jpg": lambda: _photo("jpg"),
    "webp": lambda: _photo("webp"),
    "mp4": lambda: _video("mp4"),
    "mkv": lambda: _video("mkv"),
    "tfrecord": _records,
}
