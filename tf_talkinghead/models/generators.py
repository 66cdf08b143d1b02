"""Which generator a configuration names: the paper's, or the guided one.

Built, trainable or as it is served.
"""

from tf_talkinghead.models.generator import FoldedGenerator, Generator
from tf_talkinghead.models.guided import FoldedGuidedGenerator, GuidedGenerator

_TRAINABLE = {"direct": Generator, "guided": GuidedGenerator}
_FOLDED = {"direct": FoldedGenerator, "guided": FoldedGuidedGenerator}


def make_generator(config, **kwargs):
    """G with P of a ModelConfig, built; further arguments go to Keras (dtype, name)."""
    return _built(_TRAINABLE[config.generator](config, **kwargs))


def make_folded_generator(config, **kwargs):
    """G as it is served, of a ModelConfig, built: plain kernels, no P."""
    return _built(_FOLDED[config.generator](config, **kwargs))


def _built(network):
    network.build()
    return network
