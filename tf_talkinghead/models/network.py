"""What E, G and D have in common: a Keras model made from a `ModelConfig` that
can be saved and rebuilt.
"""

import dataclasses

import keras

from tf_talkinghead.config import ModelConfig
from tf_talkinghead.models.blocks import ResidualBlock, SelfAttention


class Network(keras.Model):
    """A model that knows all its shapes from `config`, so it builds without an
    input: `network.build()`.

    Inputs and outputs are float32 under every dtype policy; what lies between follows the policy.
    """

    def __init__(self, config, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if isinstance(config, dict):  # from a .keras file
            config = ModelConfig(
                **{key: tuple(v) if isinstance(v, list) else v for key, v in config.items()}
            )
        self.config = config

    def build(self, input_shape=None):
        raise NotImplementedError

    def get_config(self):
        config = {**super().get_config(), "config": dataclasses.asdict(self.config)}
        config.pop("autocast", None)
        return config

    def build_from_config(self, config):
        self.build()


def add_block(
    network, shape, channels, name, norm="none", resample="none", opening=True, spectral=True
):
    """A ResidualBlock with the settings of `network.config`, built for inputs of `shape`."""
    config = network.config
    block = ResidualBlock(
        channels,
        resample,
        norm,
        opening,
        spectral,
        config.spectral_norm_eps,
        config.instance_norm_eps,
        dtype=network.dtype_policy,
        name=name,
    )
    block.build(shape)
    return block


def add_attention(network, shape, name, spectral=True):
    """A SelfAttention with the settings of `network.config`, built for inputs of `shape`."""
    layer = SelfAttention(
        spectral, network.config.spectral_norm_eps, dtype=network.dtype_policy, name=name
    )
    layer.build(shape)
    return layer


def down_part(network, inputs, channels, norm="none", spectral=True):
    """The layers from the picture down: a block per entry of `channels`,
    attention where its size exists.

    The first block has no opening norm and ReLU: they would cut raw pixels.
    """
    size, layers = network.config.working_size, []
    for number, outputs in enumerate(channels):
        shape = (None, size, size, inputs)
        layers.append(
            add_block(network, shape, outputs, f"down_{number}", norm, "down", number > 0, spectral)
        )
        size, inputs = size // 2, outputs
        if size == network.config.attention_down_size:
            layers.append(
                add_attention(network, (None, size, size, outputs), "down_attention", spectral)
            )
    return layers
