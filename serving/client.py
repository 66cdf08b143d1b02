"""Client of an avatar server: numpy in, numpy out.

    with AvatarClient("localhost:8500", "eileen") as avatar:
        frames = avatar.render(landmarks)                # float32 [T, 68, 2] -> uint8 [T, H, W, 3]
        frames = avatar.render(points)                   # float32 [T, 70, 2]: with the pupils
        for frame in avatar.stream(points): ...          # iterators: [68, 2] -> [H, W, 3], in order
        avatar.card()["reference_landmarks"]

It works with TensorFlow Serving and the embedded server, and depends on signatures only, not on
the model. Every call has a deadline; only UNAVAILABLE, RESOURCE_EXHAUSTED and the CANCELLED of a
server that closes are retried, with backoff within the deadline. For a member of a bank of guided
avatars pass `bank=True`: the server's card holds all that is needed. For a bank of direct ones pass
its folder, `bank="models/bank"`; the vectors sent are always those of the version that renders.

Rows 68 and 69 of [T, 70, 2] are the pupils, the person's right one first; NaN in both is "as in the
photo". Avatars whose card lacks `gaze` are sent the 68 landmarks, with one UserWarning.
"""

import collections
import concurrent.futures
import io
import itertools
import json
import threading
import time
import warnings

import grpc
import numpy as np
import PIL.Image

from serving import tensors
from serving.bank_member import BankMember
from serving.errors import AvatarError, backoff, explanation
from serving.points import LANDMARKS, POINTS, checked_points
from serving.predict_protos import PREDICT, PredictRequest, PredictResponse
from serving.tls import Tls, channel, from_environment
from tf_talkinghead.errors import InputError

__all__ = ["AvatarClient", "AvatarError", "Tls"]

BANK_MODEL = "bank"
MAX_MESSAGE_BYTES = 256 << 20  # gRPC's default of 4 MB holds 20 raw frames of 256 px
ROWS_PER_REQUEST = 8  # where the card names no max_batch_size
# A server that closes ends the calls that it has not answered with CANCELLED.
_RETRIED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
)


class AvatarClient:
    """Renders the avatar `person` on the server at `address` ("host:port").

    Args:
      bank: for a member of the shared bank: True for a bank of guided avatars; for one of direct
        avatars its folder `<models>/bank` (allowed for both), or a copy of one version's
        `vectors.npz`.
      label, version: the version to render with, "stable" or "canary" or a number; default: the
        latest. With a copy of `vectors.npz` and no label it is the version of that file.
      jpeg: fetch JPEGs (about a thirteenth of the bytes) instead of raw frames.
      timeout: seconds for a request, retries included.
      tls: a `Tls`, for servers that need it; default: what the environment names (tls.py).
      in_flight: number of concurrent requests in `stream` and in long `render` calls.
      rows_per_request: frames per request in `render`; default: the card's max_batch_size.
    """

    def __init__(
        self,
        address,
        person,
        bank=None,
        *,
        label=None,
        version=None,
        jpeg=True,
        timeout=30.0,
        tls=None,
        in_flight=4,
        rows_per_request=None,
    ):
        if label is not None and version is not None:
            raise InputError("name a label or a version, not both")
        self.address, self.person, self.timeout = address, person, timeout
        self._model = person if bank is None else BANK_MODEL
        self._label, self._version, self._jpeg = label, version, jpeg
        self._bank = None if bank is None else BankMember(self, bank, person)
        if self._bank is not None and label is None and version is None:
            self._version = self._bank.copied_version
        self._rows, self._in_flight = rows_per_request, in_flight
        self._gaze, self._gaze_lock = None, threading.Lock()  # whether the avatar takes pupils
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._channel = channel(address, options, tls or from_environment())
        self._predict = self._channel.unary_unary(
            PREDICT, PredictRequest.SerializeToString, PredictResponse.FromString
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(in_flight, thread_name_prefix="avatar")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Cancels pending requests and closes the connection."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._channel.close()

    def render(self, landmarks):
        """Renders landmarks.

        Args:
          landmarks: float32 [T, 68, 2], fractions of the crop, or [T, 70, 2] with the pupils.

        Returns:
          uint8 [T, H, W, 3].

        Raises:
          InputError: landmarks of another shape or not finite.
          AvatarError: the server refused the request or could not be reached.
        """
        landmarks = checked_points(landmarks)
        if not len(landmarks):
            raise InputError("landmarks: expected at least one frame, got none")
        rows = self._rows_per_request() if len(landmarks) > 1 else 1
        parts = [landmarks[start : start + rows] for start in range(0, len(landmarks), rows)]
        if len(parts) == 1:
            return self._request(parts[0])
        return np.concatenate(list(self._in_order(parts)))

    def stream(self, landmarks, rows=1):
        """One frame uint8 [H, W, 3] for each [68, 2] or [70, 2] of `landmarks`, in its order.

        Reads at most `in_flight` requests of `rows` frames ahead of the frames taken, so an endless
        iterator (a webcam) is fine. More rows give more frames per second and a longer delay.
        Errors as in `render`, raised when the frame is taken.
        """
        frames = iter(landmarks)
        batches = iter(lambda: list(itertools.islice(frames, rows)), [])
        parts = (checked_points(np.float32(batch)) for batch in batches)
        return (frame for part in self._in_order(parts) for frame in part)

    def jpegs(self, landmarks):
        """The frames as the server's own JPEGs, a list of bytes, in one request.

        Args:
          landmarks: float32 [T, 68, 2] or [T, 70, 2]; T at most the server's largest batch.
        """
        return list(self._outputs(checked_points(landmarks), jpeg=True))

    def card(self):
        """The avatar's card, a dict: who, how made, resolution, reference landmarks."""
        if self._bank is not None:
            return self._bank.card()
        outputs = self.predict("describe", {"query": np.zeros([1], np.int32)}, ["card"])
        return json.loads(outputs["card"][0])

    def _in_order(self, parts):
        """The frames of each part, in order, with `in_flight` requests in progress."""
        parts = iter(parts)
        waiting = collections.deque()
        try:
            for part in itertools.islice(parts, self._in_flight):
                waiting.append(self._pool.submit(self._request, part))
            while waiting:
                frames = waiting.popleft().result()
                for part in itertools.islice(parts, 1):
                    waiting.append(self._pool.submit(self._request, part))
                yield frames
        finally:
            for future in waiting:
                future.cancel()

    def _rows_per_request(self):
        if self._rows is None:
            self._rows = int(self.card().get("max_batch_size", ROWS_PER_REQUEST))
        return self._rows

    def _request(self, points):
        """Frames uint8 [B, H, W, 3] for one request's points, already checked."""
        frames = self._outputs(points, self._jpeg)
        return np.stack([_decoded(data) for data in frames]) if self._jpeg else frames

    def _outputs(self, points, jpeg):
        """Frames uint8 [B, H, W, 3], or JPEGs [B] of bytes, for points already checked."""
        if points.shape[1] == POINTS and self._takes_gaze():
            try:
                return self._rendered("render_gaze_jpeg" if jpeg else "render_gaze", points, jpeg)
            except AvatarError as error:
                # The server may now have a version without the signature: read the card again.
                missing = error.code == grpc.StatusCode.FAILED_PRECONDITION
                if not missing or self._takes_gaze(again=True):
                    raise
        signature = "render_jpeg" if jpeg else "serving_default"
        return self._rendered(signature, points[:, :LANDMARKS], jpeg)

    def _rendered(self, signature, points, jpeg):
        alias = "landmarks" if points.shape[1] == LANDMARKS else "points"
        output = "jpeg_bytes" if jpeg else "frames"
        predict = self.predict if self._bank is None else self._bank.predict
        outputs = predict(signature, {alias: points}, [output, "ok"])
        if not outputs["ok"].all():
            row = int(np.argmin(outputs["ok"]))
            raise AvatarError(
                f"{self.person}: the server could not use the landmarks of row {row}",
                grpc.StatusCode.INVALID_ARGUMENT,
            )
        return outputs[output]

    def _takes_gaze(self, again=False):
        """Whether the avatar's card says that it takes pupils; warns the first time it does not."""
        with self._gaze_lock:
            if self._gaze is None or (again and self._gaze):
                self._gaze = bool(self.card().get("gaze"))
                if not self._gaze:
                    warnings.warn(
                        f"{self.person} takes no gaze: the pupils are left out",
                        UserWarning,
                        stacklevel=2,
                    )
            return self._gaze

    def predict(self, signature, inputs, outputs):
        """Calls any signature with `inputs` (alias -> array), with retries; errors as in `answer`.

        Returns:
          {alias: array} of the aliases `outputs`.
        """
        return self.arrays(self.answer(self.request(signature, inputs, outputs)), outputs)

    def request(self, signature, inputs, outputs):
        """The PredictRequest for `inputs` (alias -> array) that asks for `outputs`."""
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if self._label is not None:
            request.model_spec.version_label = self._label
        if self._version is not None:
            request.model_spec.version.value = self._version
        request.output_filter.extend(outputs)
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(tensors.to_proto(value))
        return request

    def answer(self, request, deadline=None):
        """Sends a PredictRequest, with retries.

        Args:
          request: the PredictRequest.
          deadline: time.monotonic() seconds; by default `timeout` seconds from now.

        Returns:
          The PredictResponse.

        Raises:
          AvatarError: the server refused the request or could not be reached.
        """
        deadline = time.monotonic() + self.timeout if deadline is None else deadline
        attempt = 0
        while True:
            try:
                return self._predict(request, timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                pause = backoff(attempt)
                if not _worth_retrying(error) or time.monotonic() + pause > deadline:
                    said = explanation(error, request.model_spec, self.timeout)
                    where = f"{self.person} at {self.address}"
                    raise AvatarError(f"{where}: {said}", error.code()) from error
            except ValueError as error:  # a closed channel
                raise AvatarError(
                    f"the client of {self.person} is closed", grpc.StatusCode.CANCELLED
                ) from error
            time.sleep(pause)
            attempt += 1

    def arrays(self, response, outputs):
        """The `outputs` of a PredictResponse, alias -> array; AvatarError if it cannot be read."""
        try:
            return {alias: tensors.to_array(response.outputs[alias]) for alias in outputs}
        except InputError as error:
            raise AvatarError(
                f"{self.person} at {self.address}: the answer cannot be read: {error}",
                grpc.StatusCode.INTERNAL,
            ) from error


def _worth_retrying(error):
    # A message over the size limit is RESOURCE_EXHAUSTED too, but a retry cannot succeed.
    return error.code() in _RETRIED and "larger than max" not in (error.details() or "")


def _decoded(data):
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
