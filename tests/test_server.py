"""The embedded server's own behaviour: limits, deadlines, draining, TLS, health, reflection.

Watching its folders is in test_server_watching.py; what it shares with tensorflow_model_server in
test_serving_conformance.py.
"""

import shutil
import socket
import sys
import threading

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

from serving.options import ServerOptions
from serving.server import AvatarServer
from tests import toy_models
from tests.serving_fixtures import (
    Gate,
    answering,
    request_for,
    serving,
    stub_of,
    wait_until,
)
from tests.toy_models import landmarks, level
from tf_talkinghead.errors import InputError

Code = grpc.StatusCode


@pytest.fixture
def models(tmp_path):
    toy_models.publish(tmp_path / "models", "anna", 1)
    return tmp_path / "models"


@pytest.fixture
def one_thread(tmp_path):
    """A batching file for a single batch thread, which one held run occupies."""
    file = tmp_path / "batching.config"
    file.write_text("num_batch_threads { value: 1 }")
    return str(file)


def code_of(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*arguments, **options)
    return error.value.code()


def test_a_full_batch_queue_is_unavailable_and_a_full_server_exhausted(models, one_thread):
    (models / "anna" / "1" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 8 } max_enqueued_batches { value: 1 }"
    )
    with serving(
        models=str(models), grpc_max_threads=3, batching_parameters_file=one_thread
    ) as server:
        gate, stub = Gate(server, "anna"), stub_of(server)
        running = stub.Predict.future(request_for("anna"), timeout=30)
        assert gate.entered.wait(20)
        queued = stub.Predict.future(
            request_for("anna", {"landmarks": landmarks(0.5, rows=8)}), timeout=30
        )
        queue = lambda: [len(q.batches[0]) for q in server._scheduler._queues.values()]
        wait_until(lambda: queue() == [1])
        assert code_of(stub.Predict, request_for("anna"), timeout=20) == Code.UNAVAILABLE
        # a third call holds the last thread: it waits in another queue, that of another signature
        third = stub.Predict.future(request_for("anna", signature="render_jpeg"), timeout=30)
        wait_until(lambda: len(queue()) == 2)
        assert code_of(stub.Predict, request_for("anna"), timeout=20) == Code.RESOURCE_EXHAUSTED
        gate.open.set()
        assert (
            len(running.result().outputs)
            == len(queued.result().outputs)
            == len(third.result().outputs)
            == 2
        )


def test_the_deadline_is_honoured_and_what_nobody_waits_for_is_not_run(models, one_thread):
    with serving(models=str(models), batching_parameters_file=one_thread) as server:
        gate, stub = Gate(server, "anna"), stub_of(server)
        holder = stub.Predict.future(request_for("anna"), timeout=30)
        assert gate.entered.wait(20)
        late = request_for("anna", {"landmarks": landmarks(0.3)})
        assert code_of(stub.Predict, late, timeout=0.2) == Code.DEADLINE_EXCEEDED
        gone = stub.Predict.future(request_for("anna", {"landmarks": landmarks(0.4)}), timeout=30)
        waiting = lambda: [
            task
            for queue in server._scheduler._queues.values()
            for batch in queue.batches
            for task in batch
            if np.allclose(task.inputs["landmarks"], landmarks(0.4))
        ]
        wait_until(waiting)
        (task,) = waiting()
        gone.cancel()
        wait_until(lambda: task.dropped)
        good = stub.Predict.future(request_for("anna", {"landmarks": landmarks(0.6)}), timeout=30)
        gate.open.set()
        assert len(good.result().outputs) == 2
        ran = {round(value, 3) for batch in gate.seen for value in batch}
        assert 0.6 in ran and not ran & {0.3, 0.4}
        holder.result()


def test_a_stopping_server_answers_what_is_under_way_and_refuses_what_comes(models):
    with serving(models=str(models)) as server:
        gate, stub = Gate(server, "anna"), stub_of(server)
        running = stub.Predict.future(request_for("anna"), timeout=30)
        assert gate.entered.wait(20)
        stopping = threading.Thread(target=server.stop, args=(20,))
        stopping.start()
        wait_until(server._stopping.is_set)
        assert code_of(stub.Predict, request_for("anna"), timeout=20) == Code.UNAVAILABLE
        assert stopping.is_alive() and not running.done()
        gate.open.set()
        assert len(running.result().outputs) == 2
        stopping.join(20)
        assert code_of(stub.Predict, request_for("anna"), timeout=20) == Code.UNAVAILABLE


@pytest.mark.parametrize("batching", [True, False])
def test_ok_tells_of_the_row_that_is_not_finite(models, batching):
    with serving(models=str(models), enable_batching=batching) as server:
        bad = landmarks(0.2, rows=3)
        bad[1, 5, 0] = np.inf
        request = request_for("anna", {"landmarks": bad})
        outputs = stub_of(server).Predict(request, timeout=20).outputs
        assert tf.make_ndarray(outputs["ok"]).tolist() == [True, False, True]
        greens = tf.make_ndarray(outputs["frames"])[:, 0, 0, 1].tolist()
        assert greens == [level(0.2), level(0.5), level(0.2)]


def test_a_request_without_rows_is_answered(models):
    with serving(models=str(models), enable_batching=False) as server:
        request = request_for("anna", {"landmarks": landmarks(0.5)[:0]})
        outputs = stub_of(server).Predict(request, timeout=20).outputs
        assert tf.make_ndarray(outputs["frames"]).shape == (0, toy_models.SIZE, toy_models.SIZE, 3)


def test_a_model_without_a_platform_is_refused_and_harms_nothing(models):
    with serving(models=str(models)) as server:
        stub = model_service_pb2_grpc.ModelServiceStub(
            grpc.insecure_channel(f"localhost:{server.port}")
        )
        request = model_management_pb2.ReloadConfigRequest()
        model = request.config.model_config_list.config.add(name="x", base_path=str(models))
        assert code_of(stub.HandleReloadConfigRequest, request) == Code.INVALID_ARGUMENT
        model.name, model.base_path, model.model_platform = (
            "anna",
            str(models / "anna"),
            "tensorflow",
        )
        stub.HandleReloadConfigRequest(request, timeout=20)
        assert answering(server, "anna") == 1


def reachable(address, port):
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((address, port)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers on all of 127.0.0.0/8")
def test_only_this_machine_can_call_unless_told_otherwise(models, caplog):
    """127.0.0.2 is answered by a server that listens on all addresses, not by one that listens on
    loopback's.
    """
    options = {"models": str(models), "port": 0, "rest_api_port": -1}
    for host, others, warnings in (({}, False, 0), ({"host": "0.0.0.0"}, True, 1)):
        caplog.clear()
        server = AvatarServer(ServerOptions(**options, **host))
        server.start()
        try:
            assert reachable("127.0.0.1", server.port)
            assert reachable("127.0.0.2", server.port) == others
            said = [record for record in caplog.records if "without TLS" in record.getMessage()]
            assert len(said) == warnings
        finally:
            server.stop(grace=1)


def test_messages_and_batches_are_bounded(models):
    with serving(models=str(models), enable_batching=False) as server:
        stub = stub_of(server)
        assert (
            code_of(stub.Predict, request_for("anna", {"landmarks": landmarks(0, rows=1025)}))
            == Code.INVALID_ARGUMENT
        )
        huge = request_for("anna", {"landmarks": landmarks(0, rows=40000)})
        assert huge.ByteSize() > 16 << 20
        assert code_of(stub.Predict, huge, timeout=30) == Code.RESOURCE_EXHAUSTED
        claim = request_for("anna")  # 70 bytes that claim 2 ** 50 rows
        claim.inputs["landmarks"].tensor_content = b""
        claim.inputs["landmarks"].float_val.append(0.5)
        claim.inputs["landmarks"].tensor_shape.dim[0].size = 1 << 50
        assert code_of(stub.Predict, claim, timeout=30) == Code.INVALID_ARGUMENT
        assert answering(server, "anna") == 1


def test_stopping_drains_the_calls_under_way_and_refuses_new_ones(models):
    with serving(models=str(models)) as server:
        gate, stub = Gate(server, "anna"), stub_of(server)
        running = stub.Predict.future(request_for("anna"), timeout=30)
        assert gate.entered.wait(20)
        stopper = threading.Thread(target=server.stop, kwargs={"grace": 20})
        stopper.start()

        def refuses():
            try:
                stub_of(server).Predict(request_for("nobody"), timeout=2)
            except grpc.RpcError as error:
                return error.code() == Code.UNAVAILABLE

        wait_until(refuses)
        assert not running.done()
        gate.open.set()
        assert len(running.result().outputs) == 2
        stopper.join(20)
        assert not stopper.is_alive()


def test_health_of_the_server_and_of_each_model(models):
    with serving(models=str(models)) as server:
        stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(f"localhost:{server.port}"))
        check = lambda name: (
            stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status
        )
        serving_status, not_serving = (
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        )
        assert check("") == check("anna") == serving_status
        assert code_of(check, "nobody") == Code.NOT_FOUND
        toy_models.publish(models, "bob", 1)
        wait_until(lambda: server.manager.registry.serving("bob"))
        wait_until(lambda: check("bob") == serving_status)
        shutil.rmtree(models / "bob")
        wait_until(lambda: check("bob") == not_serving)
        assert check("") == serving_status


def test_reflection_lists_the_services(models):
    with serving(models=str(models)) as server:
        stub = reflection_pb2_grpc.ServerReflectionStub(
            grpc.insecure_channel(f"localhost:{server.port}")
        )
        ask = reflection_pb2.ServerReflectionRequest
        answers = list(
            stub.ServerReflectionInfo(
                iter(
                    [
                        ask(list_services=""),
                        ask(file_containing_symbol="tensorflow.serving.PredictionService"),
                    ],
                ),
                timeout=10,
            )
        )
        names = {service.name for service in answers[0].list_services_response.service}
        assert names == {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        assert answers[1].file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "name one of"),
        ({"models": "MODELS", "model_base_path": "/x"}, "name one of"),
        ({"models": "/absent"}, "/absent: not a folder"),
        (
            {"model_base_path": "MODELS", "batching_parameters_file": "/x"},
            "without setting --enable_batching",
        ),
        ({"models": "MODELS", "ssl_config_file": "/absent"}, "/absent: cannot be read"),
        ({"models": "MODELS", "grpc_channel_arguments": "a"}, "expected name=value"),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(models, options, message):
    options = {key: str(models) if value == "MODELS" else value for key, value in options.items()}
    with pytest.raises(InputError, match=message):
        AvatarServer(ServerOptions(**options)).start()


def test_a_port_in_use_is_refused(models):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        with pytest.raises(InputError, match="cannot listen there"):
            AvatarServer(
                ServerOptions(models=str(models), host="localhost", port=taken.getsockname()[1])
            ).start()
