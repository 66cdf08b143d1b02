"""Initialising a guided generator with `foreground` from the weights of one without.

At first the new network renders the same pictures, except that the flow's displacements are 2 %
shorter, since the foreground starts at sigmoid(4) = 0.98.
"""

import dataclasses

import numpy as np

from tf_talkinghead.config import ModelConfig


def grows_into(old: ModelConfig, new: ModelConfig) -> bool:
    """Whether `take_weights` can fill a network of `new` from one of `old`."""
    return new == old or (new.foreground and new == dataclasses.replace(old, foreground=True))


def take_weights(network, earlier):
    """Copies the weights of `earlier` to `network`; `grows_into` must hold for their configs.

    Variables that only `network` has keep their initial values; kernels of new input channels
    become 0.
    """
    own = [] if network.config == earlier.config else _new_variables(network)
    shared = [variable for variable in network.variables if id(variable) not in own]
    for variable, value in zip(shared, earlier.get_weights(), strict=True):
        value = np.asarray(value)
        if value.ndim == 4 and value.shape[2] < variable.shape[2]:  # [h, w, in, out]
            more = variable.shape[2] - value.shape[2]
            value = np.pad(value, [(0, 0), (0, 0), (0, more), (0, 0)])
        variable.assign(value)


def _new_variables(network):
    layers = (network.foreground, network.foreground_gain) if hasattr(network, "foreground") else ()
    return [id(variable) for layer in layers for variable in layer.variables]
