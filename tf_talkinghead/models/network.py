"""Base class and building helpers of E, G and D: Keras models made from a `ModelConfig`."""

import dataclasses

import keras

from tf_talkinghead.config import ModelConfig
from tf_talkinghead.models.blocks import ResidualBlock, SelfAttention


class Network(keras.Model):
    """A model whose shapes follow from `config`, so that `network.build()` needs no input shape.

    Inputs and outputs are float32 under every dtype policy; the layers between follow the policy.

    Args:
      config: ModelConfig, or its fields as a dict (as stored in a .keras file).
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
    """The downsampling layers: one block per entry of `channels`, and self-attention.

    The first block has no opening norm and ReLU, which would clip raw pixels.

    Args:
      network: the Network whose config applies.
      inputs: input channels.
      channels: output channels of each block; each halves the size.
      norm: as in ResidualBlock.
      spectral: whether kernels are spectrally normalised.

    Returns:
      list of built layers.
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
