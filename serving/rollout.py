"""Rollout, rollback and retirement of versions on running servers, without failing calls.

Servers read `models.config` at their own intervals, so every step is written to the file and then
confirmed by asking all servers over gRPC: first the versions that labels will need are loaded, then
the labels move, then versions without a label are unloaded, and a retired version's folder is
removed last. Callers reach a working version at all times. No previous state of the servers is
assumed: the same command completes an interrupted rollout and repairs a configuration that the
servers refuse.
"""

import dataclasses
import socket
import time

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from serving import models_config
from serving import tls as transport
from tf_talkinghead.errors import InputError
from tf_talkinghead.export import store

CALL_SECONDS = 10.0
POLL_SECONDS = 0.5
AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
_LARGEST_ANSWER = 64 << 20  # bytes; the signatures of a model are a few kilobytes


@dataclasses.dataclass(frozen=True)
class ModelState:
    """State of one model on one server.

    Attributes:
      loaded: the available versions.
      labels: label -> the version it points at, None where that version is not available; unknown
        labels are absent.
      failed: version -> error message of its loading.
    """

    loaded: frozenset = frozenset()
    labels: dict = dataclasses.field(default_factory=dict)
    failed: dict = dataclasses.field(default_factory=dict)


class Servers:
    """Connections to the servers behind `addresses`, a list of "host:port".

    A name with several IPv4 addresses stands for several servers, whose certificates must be for
    that name unless `tls` names another. `tls` as in `AvatarClient`.
    """

    def __init__(self, addresses, tls=None):
        found = {one: address for address in addresses for one in _resolved(address)}
        self.addresses = sorted(found)
        tls = tls or transport.from_environment()
        options = [("grpc.max_receive_message_length", _LARGEST_ANSWER)]
        self._channels = []
        for one in self.addresses:
            named = found[one].rpartition(":")[0].strip("[]")
            of_one = tls and dataclasses.replace(tls, server_name=tls.server_name or named)
            self._channels.append(transport.channel(one, options, of_one))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for channel in self._channels:
            channel.close()

    def states(self, name, labels):
        """The ModelState of `name` on each server; InputError where one cannot be asked."""
        states = []
        for address, channel in zip(self.addresses, self._channels):
            try:
                states.append(_state(channel, name, labels))
            except grpc.RpcError as error:
                raise InputError(
                    f"--server={address}: {error.code().name}: {error.details()}; every server "
                    "must answer before a label may move"
                ) from error
        return states


def _resolved(address):
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise InputError(f"--server={address}: expected HOST:PORT")
    name = host.strip("[]")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            found = socket.getaddrinfo(name, int(port), family, socket.SOCK_STREAM)
        except (OSError, OverflowError):
            continue
        hosts = [entry[4][0] for entry in found]
        return [f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in hosts]
    raise InputError(f"--server={address}: no such host")


def _state(channel, name, labels):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    try:
        answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(
            request, timeout=CALL_SECONDS
        )
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return ModelState()
    rows = answer.model_version_status
    found = {label: _pointed_at(channel, name, label) for label in labels}
    return ModelState(
        frozenset(row.version for row in rows if row.state == AVAILABLE),
        {label: version for label, (known, version) in found.items() if known},
        {row.version: row.status.error_message for row in rows if row.status.error_code},
    )


def _pointed_at(channel, name, label):
    """The version that a label points at on a server.

    It is read from the metadata of the labelled version, since TensorFlow Serving's GetModelStatus
    ignores labels.

    Returns:
      (whether the server knows the label, its version or None if that is not available).
    """
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name, request.model_spec.version_label = name, label
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    try:
        answer = stub.GetModelMetadata(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
            return False, None
        if error.code() == grpc.StatusCode.NOT_FOUND:
            return True, None
        raise
    return True, answer.model_spec.version.value


def next_step(wanted, states):
    """The next entry of one model in models.config: no server refuses it, and no call fails by it.

    Args:
      wanted: {label: version}, the target state.
      states: the ModelState on each server.

    Returns:
      ({label: version}, the versions to load). A label that cannot move yet keeps its version; one
      whose version is not loaded is omitted until it is.
    """
    loaded = frozenset.intersection(*(state.loaded for state in states))
    labels = {}
    for label, version in wanted.items():
        present = [state.labels[label] for state in states if label in state.labels]
        if version in loaded or not present or set(present) == {version}:
            labels[label] = version
        elif set(present) & loaded:
            labels[label] = max(set(present) & loaded)
    in_force = {version for state in states for version in state.labels.values() if version}
    return labels, {*wanted.values(), *labels.values(), *in_force}


def _reached(wanted, states, retired):
    return all(state.labels == wanted and retired not in state.loaded for state in states)


def roll_out(
    models_dir,
    addresses,
    promote=(),
    pin=None,
    retire=None,
    served_from="",
    wait_seconds=120.0,
    tls=None,
):
    """Brings the servers to the state that the models folder and the arguments define.

    Args:
      models_dir: the models folder, whose models.config all servers read.
      addresses: "host:port" of the servers.
      promote, pin, retire: as in `models_config.wanted_labels`. The folder of a retired version is
        removed at the end.
      served_from: path of the models folder on the servers.
      wait_seconds: timeout in seconds for all steps.
      tls: a `Tls`, for servers that need it; default: what the environment names.

    Returns:
      A list with one sentence per model that has not reached its state; empty if all have.

    Raises:
      InputError: an invalid argument, or a server that does not answer.
    """
    retire = retire or {}
    models_config.names_in(models_dir)
    end = time.monotonic() + wait_seconds
    with (
        Servers(addresses, tls) as servers,
        store.lock(models_dir, models_config.FILE_NAME, wait=True),
    ):
        previous = models_config.read_if_there(models_dir)
        wanted = models_config.wanted_labels(models_dir, previous, promote, pin, retire)
        labels, needed, states, open_names = {}, {}, {}, set(wanted)
        while True:
            for name in sorted(open_names):
                states[name] = servers.states(name, wanted[name])
                labels[name], needed[name] = next_step(wanted[name], states[name])
            models_config.write(
                models_dir, models_config.config_of(models_dir, labels, served_from, needed)
            )
            open_names = {
                name
                for name in open_names
                if not _reached(wanted[name], states[name], retire.get(name))
            }
            hopeful = [name for name in open_names if not _failure(wanted[name], states[name])]
            if not hopeful or time.monotonic() > end:
                break
            time.sleep(POLL_SECONDS)
        for name, version in retire.items():
            if name not in open_names:
                store.remove_version(models_dir, name, version)
    return [_left(name, wanted[name], states[name], retire) for name in sorted(open_names)]


def _failure(wanted, states):
    """Why a wanted version does not load on some server; empty if none has failed."""
    for state in states:
        for version in set(wanted.values()) - state.loaded:
            if state.failed.get(version):
                return f"version {version} does not load: {state.failed[version]}"
    return ""


def _left(name, wanted, states, retire):
    """One sentence on a step that one model still lacks."""
    failure = _failure(wanted, states)
    if failure:
        return f"{name}: {failure}"
    for label, version in sorted(wanted.items()):
        if any(state.labels.get(label) != version for state in states):
            return (
                f"{name}: {label} has not moved to version {version} on every server; if that "
                "version does not load, the server's log says why"
            )
    return f"{name}: version {retire[name]} is still loaded; its folder was left"
