"""A version swap that falls between choosing a version and using it."""

import threading

from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.loading import State
from serving.manager import Manager
from serving.metrics import Metrics
from serving.registry import Registry
from tests import toy_models
from tests.serving_fixtures import wait_until


def newest_of(models):
    """A ModelServerConfig that serves the newest version of anna."""
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name="anna", base_path=str(models / "anna"), model_platform="tensorflow"
    )
    return config


class _PausingCondition(threading.Condition):
    """A condition that runs `hook` once, right after `thread` has let go of it."""

    hook, thread = None, None

    def __exit__(self, *exc):
        super().__exit__(*exc)
        if self.hook is not None and threading.current_thread() is self.thread:
            hook, self.hook = self.hook, None
            hook()


def test_a_call_that_has_chosen_its_version_is_answered_by_it(tmp_path, monkeypatch):
    models = tmp_path / "models"
    toy_models.publish(models, "anna", 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Condition", _PausingCondition)
        registry = Registry()
    monkeypatch.setattr("serving.manager.Registry", lambda *_: registry)
    manager = Manager(Metrics())
    manager.reload(newest_of(models))
    spec = model_pb2.ModelSpec(name="anna")
    swap = threading.Thread(target=manager.poll)

    def begin_swap():
        toy_models.publish(models, "anna", 2)
        swap.start()
        wait_until(lambda: registry.models["anna"][1].state == State.UNLOADING)

    registry.changed.thread, registry.changed.hook = threading.current_thread(), begin_swap
    with manager.use(spec) as loaded:
        assert loaded.version == 1 and loaded.servable is not None
    swap.join(30)
    assert registry.models["anna"][1].servable is None
    with manager.use(spec) as loaded:
        assert loaded.version == 2
    manager.close()
