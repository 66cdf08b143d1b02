"""Model configuration from the server's options, and a clock for polling it."""

import os
import time

from tensorflow_serving.config import model_server_config_pb2

from serving import config_protos, models_config, versions


def read(options):
    """Reads the ModelServerConfig of a models folder, a config file or one model's folder.

    Raises:
      InputError: the folder or file cannot be read.
    """
    if options.models:
        previous = models_config.read_if_there(options.models)
        return models_config.build(options.models, previous)
    if options.model_config_file:
        return config_protos.parse_file(
            options.model_config_file, model_server_config_pb2.ModelServerConfig
        )
    config = model_server_config_pb2.ModelServerConfig()
    config.model_config_list.config.add(
        name=options.model_name,
        base_path=os.path.abspath(options.model_base_path),
        model_platform=versions.PLATFORM,
    )
    return config


class Clock:
    """Timer that is due once every `period` seconds; never if `period` is 0."""

    def __init__(self, period):
        self.period = period
        self._last = time.monotonic()

    def due(self):
        """Whether the period has passed since this last returned True."""
        if self.period <= 0 or time.monotonic() - self._last < self.period * 0.9:
            return False
        self._last = time.monotonic()
        return True
