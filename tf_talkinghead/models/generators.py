"""Factories for the generator that a configuration names: the paper's ("direct") or "guided"."""

from tf_talkinghead.models.generator import FoldedGenerator, Generator
from tf_talkinghead.models.guided import FoldedGuidedGenerator, GuidedGenerator

_TRAINABLE = {"direct": Generator, "guided": GuidedGenerator}
_FOLDED = {"direct": FoldedGenerator, "guided": FoldedGuidedGenerator}


def make_generator(config, **kwargs):
    """Builds the trainable generator, with P, of a ModelConfig.

    Args:
      config: ModelConfig.
      **kwargs: Keras arguments (dtype, name).
    """
    return _built(_TRAINABLE[config.generator](config, **kwargs))


def make_folded_generator(config, **kwargs):
    """Builds the folded generator of a ModelConfig for serving: plain kernels, without P.

    Args:
      config: ModelConfig.
      **kwargs: Keras arguments (dtype, name).
    """
    return _built(_FOLDED[config.generator](config, **kwargs))


def _built(network):
    network.build()
    return network
