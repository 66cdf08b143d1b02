"""Exponential moving averages of networks: the weights that later steps use by default.

The average is held by a second network of the same architecture, so it can be called, evaluated and
saved like any other network. Only trained variables are averaged. The averaged kernels need their
own spectral vectors, so `converge_spectral_norms` is called before the average is used.
"""

import tensorflow as tf

from tf_talkinghead.training.optimizers import raw, state_variable


class Averages:
    """Exponential moving averages of variables: average += (1 - d_t) (trained - average).

    d_t = min(decay, t / (t + 10)) after t updates: the memory is shorter at first, so that the
    random initial weights are forgotten (the first update copies: d_0 = 0).

    Args:
      pairs: (trained, averaged) variables.
      decay: largest d_t, 0 to below 1.
    """

    def __init__(self, pairs, decay):
        trained, averaged = zip(*pairs)
        self.trained, self.averaged = raw(trained), raw(averaged)
        self.decay = decay
        self.count = state_variable(0, tf.int64, "average_count")

    def state(self):
        """Name -> variable, everything a checkpoint needs beside the averages."""
        return {"count": self.count}

    def update(self):
        """One update, in replica context, after the trained variables were written."""
        tf.distribute.get_replica_context().merge_call(self._update)

    def _update(self, strategy):
        extended = strategy.extended
        for average, trained in zip(self.averaged, self.trained):
            extended.update(average, self._move, (trained, self.count), group=False)
        extended.update(self.count, lambda count: count.assign_add(1), group=False)

    def _move(self, average, trained, count):
        t = tf.cast(count.read_value(), tf.float32)
        keep = tf.minimum(self.decay, t / (t + 10.0))
        return average.assign_add((1.0 - keep) * (trained.read_value() - average.read_value()))


def network_pairs(trained, averaged):
    """The pairs of `Averages` for two networks of one architecture, both built."""
    return list(zip(trained.trainable_variables, averaged.trainable_variables, strict=True))
