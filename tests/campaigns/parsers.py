"""The parsers of foreign bytes, each with seeds, a mutation and its first check, for the fuzz.

A parser takes the bytes of one input, most often by way of a file in an empty folder. It may refuse
them by one of REFUSALS; anything else is a fault. `passes` tells whether an input is past the first
check of its format, such as JSON's syntax: only then does it reach this project's own checks.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import tempfile
import warnings
import zipfile
from collections.abc import Callable

import numpy as np

from tests.campaigns import mutations
from tf_talkinghead.config import ConfigError
from tf_talkinghead.errors import TalkingHeadError


@dataclasses.dataclass(frozen=True)
class Parser:
    """seeds: valid inputs. native: whether C libraries decode, so that memory is bounded too.

    guided: whether atheris drives it, by coverage of this project's Python, where it is installed.
    """

    seeds: Callable
    mutate: Callable
    parse: Callable
    passes: Callable
    native: bool = False
    guided: bool = False


def refusals():
    """The exceptions with which a parser may refuse an input."""
    from serving.status import StatusError

    return (TalkingHeadError, ConfigError, StatusError)


@contextlib.contextmanager
def _file(name, data):
    """The path of a file `name` with the content `data`."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(data)
        yield path


def _is_json(data):
    try:
        return isinstance(json.loads(data), (dict, list))
    except (ValueError, RecursionError):
        return False


def _is_archive(data):
    try:
        zipfile.ZipFile(io.BytesIO(data))
        return True
    except Exception:
        return False


def _is_proto(message_class):
    from google.protobuf.message import DecodeError

    def passes(data):
        try:
            message_class.FromString(data)
            return True
        except DecodeError:
            return False

    return passes


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

        with _file(f"x.{suffix}", data) as path:
            list(read_video(path).frames)

    mutate = mutations.png if suffix == "png" else mutations.raw
    return Parser(seeds, mutate, parse, _opens, native=True)


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

        with _file(f"x.{suffix}", data) as path:
            list(read_video(path, max_frames=8).frames)

    def passes(data):
        import av

        try:
            with av.open(io.BytesIO(data)):
                return True
        except Exception:
            return False

    return Parser(seeds, mutations.raw, parse, passes, native=True)


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
        with _file("x.tfrecord", data) as path:
            for record in records.read_records(path):
                record.images()

    is_example = _is_proto(records._Example)
    whole = lambda data: data[8:12] == mutations._masked(data[:8]) and is_example(data[12:-4])
    return Parser(seeds, mutate, parse, whole, native=True)


def _json_in(name, seeds, parse):
    """A parser of the folder that holds the JSON file `name`."""

    def parse_folder(data):
        with _file(name, data) as path:
            parse(path.parent)

    return Parser(seeds, mutations.json_text, parse_folder, _is_json, guided=True)


def _dataset_seeds():
    from tests.test_records import make_dataset, make_record

    with tempfile.TemporaryDirectory() as folder:
        make_dataset(pathlib.Path(folder), [[make_record()], [make_record("b", identity="b")]])
        return [(pathlib.Path(folder) / "dataset.json").read_bytes()]


def _dataset(folder):
    from tf_talkinghead.data.dataset import load_dataset

    dataset = load_dataset(folder)
    for entry in dataset.clips:
        dataset.read(entry)
    assert dataset.identities is not None


def _config():
    from tf_talkinghead.config import from_json, preset, to_json

    seeds = lambda: [to_json(preset(name)).encode() for name in ("tiny", "paper", "guided")]
    parse = lambda data: from_json(data.decode("utf-8", "replace"))
    return Parser(seeds, mutations.json_text, parse, _is_json, guided=True)


def _motion(suffix):
    def seeds():
        from tf_talkinghead.driving import motion_file

        times = np.arange(3) / 25
        numbers = np.tile(motion_file._REST, (3, 1))
        points = np.zeros((3, 68, 2), np.float32)
        saved = motion_file.Motion(times, numbers, points, points[0])
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"x.{suffix}"
            motion_file.write_motion_file(path, saved)
            return [path.read_bytes()]

    def parse(data):
        from tf_talkinghead.driving.motion_file import read_motion_file, resampled

        with _file(f"x.{suffix}", data) as path:
            resampled(read_motion_file(path), 25.0)

    if suffix == "json":
        return Parser(seeds, mutations.json_text, parse, _is_json, guided=True)
    return Parser(seeds, mutations.csv_text, parse, lambda data: b"time" in data[:200], guided=True)


def _manifest():
    seeds = lambda: [b"file,person_id,video_id\nann/1.mp4,ann,v1\nbob/2.mp4,bob,\nx.png,x,x\n"]

    def parse(data):
        from tf_talkinghead.data.listing import list_clips

        with _file("people.csv", data) as path:
            (path.parent / "x.png").write_bytes(b"x")
            clips, _ = list_clips(path.parent, path)
            inside = path.parent.resolve()
            for clip in clips:
                assert inside in (path.parent / clip.name).resolve().parents, "outside the folder"

    passes = lambda data: b"file" in data[:100] and b"person_id" in data[:100]
    return Parser(seeds, mutations.csv_text, parse, passes, guided=True)


def _bank():
    def seeds():
        from tf_talkinghead.export.bank_files import Members, write_members

        members = Members(
            3, "ab" * 32, {"ann": np.zeros(9, np.float16)}, {"ann": {"person": "ann"}}
        )
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "vectors.npz"
            write_members(path, members)
            return [path.read_bytes()]

    def parse(data):
        from tf_talkinghead.export.bank_files import read_member, read_members

        with _file("vectors.npz", data) as path:
            read_members(path)
            read_member(path, "ann")

    return Parser(seeds, mutations.archive, parse, _is_archive, native=True)


def _arrays_in(read, names):
    """A parser of a folder of arrays and JSON, whose digest of the arrays is mended.

    read: the folder's reader. names: (arrays' file, JSON's file, its key of the digest).
    """
    arrays, described, key = names

    def seeds():
        stored = io.BytesIO()
        np.savez(stored, **{"E/000.kernel": np.zeros((3, 3), np.float32), "D/b": np.zeros(())})
        return [stored.getvalue()]

    def parse(data):
        from tf_talkinghead.files import sha256

        with _file(arrays, data) as path:
            facts = {key: sha256(data), "schema": 2, "step": 1, "scores": {}, "dtype": "float32"}
            (path.parent / described).write_text(json.dumps(facts))
            read(path.parent)

    return Parser(seeds, mutations.archive, parse, _is_archive, native=True)


def _weights():
    from tf_talkinghead.weights.store import _read_shipped

    return _arrays_in(_read_shipped, ("weights.npz", "provenance.json", "sha256"))


def _checkpoint():
    from tf_talkinghead.training.checkpoints import Checkpoints

    def read(folder):
        step = folder.parent / f"{folder.name}-all" / "step-00000001"
        step.parent.mkdir()
        folder.rename(step)
        try:
            Checkpoints(step.parent).load(1)
        finally:
            step.rename(folder)
            step.parent.rmdir()

    return _arrays_in(read, ("state.npz", "manifest.json", "sha256"))


def _avatar():
    """avatar.npz and avatar.json in one input: the JSON's length, the JSON, the arrays."""

    def seeds():
        from tests.random_avatars import random_avatar
        from tf_talkinghead.personalization.avatar import save_avatar

        avatar, _ = random_avatar()
        avatar.weights = avatar.weights[:2]
        with tempfile.TemporaryDirectory() as folder:
            save_avatar(avatar, folder)
            facts = (pathlib.Path(folder) / "avatar.json").read_bytes()
            arrays = (pathlib.Path(folder) / "avatar.npz").read_bytes()
            return [len(facts).to_bytes(4, "big") + facts + arrays]

    def mutate(rng, data):
        length = int.from_bytes(data[:4], "big")
        facts, arrays = data[4 : 4 + length], data[4 + length :]
        if rng.random() < 0.5:
            facts = mutations.json_text(rng, facts)
        else:
            arrays = mutations.archive(rng, arrays)
        return len(facts).to_bytes(4, "big") + facts + arrays

    def parse(data):
        from tf_talkinghead.files import sha256
        from tf_talkinghead.personalization.avatar import load_avatar

        length = int.from_bytes(data[:4], "big")
        facts, arrays = data[4 : 4 + length], data[4 + length :]
        with contextlib.suppress(ValueError, RecursionError):
            tree = json.loads(facts)
            if isinstance(tree, dict) and isinstance(tree.get("arrays_sha256"), str):
                facts = json.dumps({**tree, "arrays_sha256": sha256(arrays)}).encode()
        with _file("avatar.json", facts) as path:
            (path.parent / "avatar.npz").write_bytes(arrays)
            load_avatar(path.parent)

    passes = lambda data: _is_json(data[4 : 4 + int.from_bytes(data[:4], "big")])
    return Parser(seeds, mutate, parse, passes, native=True)


def _text_proto(message_class, seed):
    """A text file of the server, as a `message_class`."""

    def parse(data):
        from serving.config_protos import parse_file

        with _file("x.config", data) as path:
            parse_file(path, message_class)

    return Parser(lambda: [seed], mutations.raw, parse, lambda data: data.isascii(), guided=True)


def _models_config():
    from tensorflow_serving.config import model_server_config_pb2

    seed = (
        'model_config_list { config { name: "ann" base_path: "/m/ann" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 versions: 2 } } "
        'version_labels { key: "stable" value: 1 } } }'
    )
    return _text_proto(model_server_config_pb2.ModelServerConfig, seed.encode())


def _batching():
    from serving.config_protos import BatchingParameters
    from tf_talkinghead.config import preset
    from tf_talkinghead.export.saved_model import batching_params

    return _text_proto(BatchingParameters, batching_params(preset("tiny").export).encode())


def _request():
    from tensorflow_serving.apis import predict_pb2

    from serving import requests
    from serving.servables import Servable
    from tests import toy_models
    from tests.serving_fixtures import request_for

    holder = []

    def parse(data):
        if not holder:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
            holder.append(Servable("toy", 1, toy_models.publish(folder, "toy", 1)))
        request = predict_pb2.PredictRequest.FromString(data)
        requests.model_name_of(request)
        call = requests.parse(holder[0], request)
        if sum(value.nbytes for value in call.inputs.values()) < 1 << 20:
            outputs = holder[0].run(call.signature_name, call.inputs, call.outputs)
            requests.respond(holder[0], call, outputs)

    is_request = _is_proto(predict_pb2.PredictRequest)
    guarded = lambda data: parse(data) if is_request(data) else None
    mutate = lambda rng, data: mutations.proto(rng, data, predict_pb2.PredictRequest)
    seeds = lambda: [request_for("toy").SerializeToString()]
    return Parser(seeds, mutate, guarded, is_request, native=True)


def _answer():
    from serving import tensors
    from serving.predict_protos import TensorProto

    def seeds():
        made = [np.zeros((2, 4, 4, 3), np.uint8), np.array([b"a", b"bc"], object), np.ones(2, bool)]
        return [tensors.to_proto(array).SerializeToString() for array in made]

    is_tensor = _is_proto(TensorProto)
    parse = lambda data: tensors.to_array(TensorProto.FromString(data)) if is_tensor(data) else None
    mutate = lambda rng, data: mutations.proto(rng, data, TensorProto)
    return Parser(seeds, mutate, parse, is_tensor, guided=True)


def _rest():
    import socket

    from serving.metrics import Metrics
    from serving.registry import Registry
    from serving.rest import RestServer

    started = []

    def parse(data):
        if not started:
            server = RestServer("localhost", -1, Registry(), Metrics(), "/metrics")
            server.start()
            started.append(server)
        server = ("localhost", started[0].port)
        with contextlib.suppress(ConnectionError), socket.create_connection(server, 10) as sent:
            sent.sendall(data)
            sent.shutdown(socket.SHUT_WR)
            while sent.recv(65536):
                pass
        with socket.create_connection(server, 10) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.0 200", "the server no longer answers"

    paths = ("/v1/models/ann", "/v1/models/ann/versions/1", "/v1/models/a/labels/b", "/metrics")
    seeds = lambda: [f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths]
    return Parser(seeds, mutations.raw, parse, lambda data: data.startswith(b"GET /"))


def parsers():
    """{name: function that makes the Parser}; modules are imported when one is made."""
    return {
        "png": lambda: _photo("png"),
        "jpg": lambda: _photo("jpg"),
        "webp": lambda: _photo("webp"),
        "mp4": lambda: _video("mp4"),
        "mkv": lambda: _video("mkv"),
        "tfrecord": _records,
        "dataset_json": lambda: _json_in("dataset.json", _dataset_seeds, _dataset),
        "config_json": _config,
        "motion_json": lambda: _motion("json"),
        "motion_csv": lambda: _motion("csv"),
        "manifest_csv": _manifest,
        "bank_npz": _bank,
        "weights_npz": _weights,
        "checkpoint_npz": _checkpoint,
        "avatar": _avatar,
        "models_config": _models_config,
        "batching_config": _batching,
        "grpc_request": _request,
        "grpc_answer": _answer,
        "rest_request": _rest,
    }


def quiet():
    """Warnings of parsers are no news here."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
