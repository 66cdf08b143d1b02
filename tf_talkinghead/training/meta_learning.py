"""Meta-learning (Sec. 3.2): networks, optimizers, averages, and one distributed update.

learner = MetaLearner(config, videos=len(dataset.videos), strategy=make_strategy())
terms = learner.step(batch, number)         # a batch of data/episodes.py
snapshot(learner.state())                   # everything a resumed run needs
"""

import keras
import tensorflow as tf

from tf_talkinghead.models.discriminator import Discriminator
from tf_talkinghead.models.embedder import Embedder
from tf_talkinghead.models.generators import make_generator
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.training.content_loss import content_loss
from tf_talkinghead.training.ema import Averages, network_pairs
from tf_talkinghead.training.optimizers import Adam, LazyAdam, OptimizedNetworks, raw
from tf_talkinghead.training.synthesis import discriminated, synthesise, target_drawing
from tf_talkinghead.training.train_step import AdversarialStep, Synthesis

# State with one row per video, which grows with the dataset.
W_STATE = ("D/W", "discriminator_optimizer/1/v", "discriminator_optimizer/1/last_update")


class MetaLearner:
    """E, G (with P) and D of a `Config`, made under `strategy`, and the update that trains them.

    Args:
      config: Config.
      videos: rows of W, the number of training videos.
      strategy: tf.distribute.Strategy, TensorFlow's default one by default.

    Attributes:
      embedder, generator, discriminator: the trained networks.
      averaged_embedder, averaged_generator: the exponential moving averages of the first two.
    """

    def __init__(self, config, videos, strategy=None):
        self.config, meta = config, config.meta
        self.strategy = strategy or tf.distribute.get_strategy()
        keras.utils.set_random_seed(meta.seed)
        with self.strategy.scope():
            self.embedder, self.averaged_embedder = (
                _built(Embedder(config.model, dtype=meta.dtype)) for _ in range(2)
            )
            self.generator, self.averaged_generator = (
                make_generator(config.model, dtype=meta.dtype) for _ in range(2)
            )
            self.discriminator = _built(Discriminator(config.model, videos, dtype=meta.dtype))
            self._start_averages()
            self._make_step()
        self._functions = {}

    def _start_averages(self):
        E, G = self.embedder, self.generator
        self.averaged_embedder.set_weights(E.get_weights())
        self.averaged_generator.set_weights(G.get_weights())
        pairs = network_pairs(E, self.averaged_embedder) + network_pairs(G, self.averaged_generator)
        self.averages = Averages(pairs, self.config.meta.ema_decay)

    def _make_step(self):
        config, meta = self.config, self.config.meta
        E, G, D = self.embedder, self.generator, self.discriminator
        settings = {"beta_2": meta.adam_beta_2, "epsilon": meta.adam_epsilon}
        for_generator = Adam(meta.learning_rate, meta.adam_beta_1, **settings)
        for_discriminator = Adam(meta.discriminator_learning_rate, meta.adam_beta_1, **settings)
        for_W = LazyAdam(meta.discriminator_learning_rate, **settings)
        self.optimizers = {
            "generator": (for_generator,),
            "discriminator": (for_discriminator, for_W),
        }
        synthesise, discriminate = self._synthesise, self._discriminate
        if meta.jit_compile:
            synthesise = tf.function(synthesise, jit_compile=True)
            discriminate = tf.function(discriminate, jit_compile=True)
        theta = [*D.V.trainable_variables, D.w_0, D.b]
        self._step = AdversarialStep(
            weights=config.losses,
            content=content_loss(config.losses, config.model.image_size),
            synthesise=lambda part, y: Synthesis(*synthesise(part, y)),
            discriminate=lambda x, y, part: discriminate(
                *discriminated(x, y, part, config.model), part["index"]
            ),
            generator=OptimizedNetworks(
                [E, G], [(E.trainable_variables + G.trainable_variables, for_generator)]
            ),
            discriminator=OptimizedNetworks([D], [(theta, for_discriminator), ([D.W], for_W)]),
            discriminator_steps=meta.discriminator_steps,
            W=raw([D.W])[0] if meta.variant == "ft" else None,
            averages=self.averages,
            micro_batches=meta.micro_batches,
        )

    def _synthesise(self, part, y):
        return synthesise(self.embedder, self.generator, part, y)

    def _discriminate(self, x, y, index):
        return self.discriminator(x, y, index)

    def step(self, batch, number):
        """Update `number` (from 0) on a global batch; returns {term: mean over the batch}."""
        self.set_rates(number)
        return self.function(number >= self.config.losses.adversarial_start)(batch)

    def function(self, adversarial):
        """The update as a tf.function of a batch, with or without D."""
        if adversarial not in self._functions:
            strategy, names = self.strategy, []

            def replica(batch):
                batch = {**batch, "y": target_drawing(batch, self.config.model)}
                terms = self._step(batch, adversarial)
                names[:] = terms
                # One vector: one reduction instead of one for each term.
                return tf.stack(list(terms.values()))

            @tf.function
            def update(batch):
                values = strategy.reduce(
                    tf.distribute.ReduceOp.MEAN, strategy.run(replica, (batch,)), axis=None
                )
                return dict(zip(names, tf.unstack(values, len(names))))

            self._functions[adversarial] = update
        return self._functions[adversarial]

    def set_rates(self, number):
        """Sets the learning rates of update `number` (from 0); see `decayed`."""
        meta = self.config.meta
        factor = decayed(number, meta.steps, meta.rate_decay)
        rates = {
            "generator": meta.learning_rate,
            "discriminator": meta.discriminator_learning_rate,
        }
        for name, rate in rates.items():
            for optimizer in self.optimizers[name]:
                optimizer.set_rate(rate * factor)

    def rates(self):
        """{name: current learning rate}, floats."""
        return {
            f"rate/{name}": optimizers[0].current_rate
            for name, optimizers in self.optimizers.items()
        }

    def converge_averages(self):
        """Computes the averaged networks' own spectral norms; call it before using them."""
        converge_spectral_norms(self.averaged_embedder)
        converge_spectral_norms(self.averaged_generator)

    def state(self):
        """Name -> variable of everything an update reads or writes."""
        D = self.discriminator
        networks = {
            "E": self.embedder,
            "G": self.generator,
            "V": D.V,
            "E_averaged": self.averaged_embedder,
            "G_averaged": self.averaged_generator,
        }
        state = {
            f"{name}/{key}": v
            for name, network in networks.items()
            for key, v in network_state(network).items()
        }
        state.update({"D/W": D.W, "D/w_0": D.w_0, "D/b": D.b})
        parts = {
            "generator_optimizer": self._step.generator,
            "discriminator_optimizer": self._step.discriminator,
            "averages": self.averages,
        }
        for name, part in parts.items():
            state.update({f"{name}/{key}": variable for key, variable in part.state().items()})
        return state


def decayed(number, steps, share):
    """Factor of the learning rates at update `number` (from 0) of `steps`.

    It is 1, and falls linearly to 0 over the last `share` (0 to 1) of all updates.
    """
    if not share:
        return 1.0
    return min(1.0, max(0.0, (steps - number) / (share * steps)))


def network_state(network):
    """Name -> variable of one network, in building order, for example "007.kernel".

    The names are the same for all networks of one config.
    """
    return {f"{i:03d}.{variable.name}": variable for i, variable in enumerate(network.variables)}


def _built(network):
    network.build()
    return network
