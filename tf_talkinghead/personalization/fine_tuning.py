"""Fine-tuning of a new person (Sec. 3.3): networks, optimizers, moving averages and one update.

    learner = PersonLearner(trained, pairs, config, steps)   # psi' = P e_NEW, w' = w_0 + e_NEW
    terms = learner.step(batch, number)                      # stacked rows of pairs.draw

The pairs (pairs.py) hold the inputs of G, so both generators are trained by the same code.

`fine_tune` trains all of psi and psi' (not P and E: psi' replaced them), `vector` psi' alone and
`feed_forward` nothing, so it has no losses either. The update is that of meta-learning, without the
match term. The result is the moving averages of the weights.
"""

import math

import numpy as np
import tensorflow as tf

from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.images import to_float, to_uint8
from tf_talkinghead.models.discriminator import PersonalDiscriminator
from tf_talkinghead.models.generators import make_generator
from tf_talkinghead.models.layers import converge_spectral_norms
from tf_talkinghead.training.content_loss import content_loss
from tf_talkinghead.training.ema import Averages
from tf_talkinghead.training.meta_learning import network_state
from tf_talkinghead.training.optimizers import Adam, OptimizedNetworks
from tf_talkinghead.training.synthesis import discriminated, shrunk, target_drawing
from tf_talkinghead.training.train_step import AdversarialStep, Synthesis

_BATCH = 8  # images in one pass that needs no gradient


class PersonLearner:
    """Copies of the meta-learned networks for one person, and how they are updated.

    Args:
      trained: `weights.store.Trained`, left unchanged.
      pairs: of `pairs.make_pairs`; e_NEW is the mean embedding of its images.
      config: PersonalizeConfig.
      steps: number of updates, which the learning rates' schedule needs.

    Raises:
      MissingWeightsError: a network of the content loss lacks its weight file.
    """

    def __init__(self, trained, pairs, config, steps):
        self.pairs, self.config, self.steps = pairs, config, steps
        self.model = trained.config.model
        e_new = embed(trained.embedder, pairs.images, pairs.landmarks)
        psi_hat = trained.generator.project(e_new[None])[0]
        self.generator, self.averaged_generator = _copy(trained.generator), _copy(trained.generator)
        self.psi_hat = tf.Variable(psi_hat, name="psi_hat")
        self.averaged_psi_hat = tf.Variable(psi_hat, trainable=False, name="averaged_psi_hat")
        self.losses = config.losses(trained.config.losses)
        self._forward = tf.function(self._rendered, autograph=False, reduce_retracing=True)
        self._of_row = tf.function(self._synthesised, autograph=False, reduce_retracing=True)
        self.content = content_loss(self.losses, self.model.image_size)
        self._content = tf.function(self._content_of, autograph=False, reduce_retracing=True)
        self._make_step(trained, e_new)
        self._functions = {}

    def _make_step(self, trained, e_new):
        config, meta = self.config, trained.config.meta
        G = self.generator
        adam = (config.adam_beta_1, meta.adam_beta_2, meta.adam_epsilon)
        self._rates = [(config.vector_learning_rate, Adam(config.vector_learning_rate, *adam))]
        groups = [([self.psi_hat], self._rates[0][1])]
        pairs = [(self.psi_hat, self.averaged_psi_hat)]
        if config.mode == "fine_tune":
            self._rates.append((config.learning_rate, Adam(config.learning_rate, *adam)))
            groups.append((_without_projection(G), self._rates[-1][1]))
            pairs += zip(
                _without_projection(G), _without_projection(self.averaged_generator), strict=True
            )
        self.averages = Averages(pairs, config.ema_decay)
        self.discriminator, discriminator = None, None
        if config.adversarial_from < 1.0:
            D = PersonalDiscriminator.from_parts(
                self.model, trained.V, trained.w_0, trained.b, e_new
            )
            self._rates.append(
                (
                    config.discriminator_learning_rate,
                    Adam(config.discriminator_learning_rate, *adam),
                )
            )
            discriminator = OptimizedNetworks([D], [(D.trainable_variables, self._rates[-1][1])])
            self.discriminator = D
        self._step = AdversarialStep(
            weights=self.losses,
            content=self.content,
            synthesise=lambda part, y: Synthesis(
                self.pairs.synthesise(G, _rows(self.psi_hat, y), part, y)
            ),
            discriminate=lambda x, y, part: self.discriminator(
                *discriminated(x, y, part, self.model)
            ),
            generator=OptimizedNetworks([G] if config.mode == "fine_tune" else [], groups),
            discriminator=discriminator,
            discriminator_steps=config.discriminator_steps,
            averages=self.averages,
        )

    def step(self, batch, number):
        """Does update `number` (from 0) on a batch of rows of the pairs; returns {term: scalar}."""
        for rate, optimizer in self._rates:
            optimizer.set_rate(rate * rate_factor(number, self.steps, self.config))
        adversarial = (
            self.discriminator is not None and number >= self.config.adversarial_from * self.steps
        )
        if adversarial not in self._functions:
            step, model = self._step, self.model
            self._functions[adversarial] = tf.function(
                lambda batch: step({**batch, "y": target_drawing(batch, model)}, adversarial),
                autograph=False,
            )
        return self._functions[adversarial](batch)

    def folded(self):
        """The averages: (weights of the folded generator in its own order, psi_hat [A])."""
        return folded_weights(self.averaged_generator), self.averaged_psi_hat.numpy()

    def render(self, landmarks):
        """Frames uint8 [B, H, W, 3] of landmarks [B, 68, 2] by the averages; `converge` first."""
        frames = []
        for start in range(0, len(landmarks), _BATCH):
            part = tf.constant(landmarks[start : start + _BATCH], tf.float32)
            frames.append(to_uint8(self._forward(part)))
        return np.concatenate(frames)

    def converge(self):
        """Computes the averaged kernels' own spectral norms, which are not the averaged norms."""
        if self.config.mode == "fine_tune":
            converge_spectral_norms(self.averaged_generator)

    def render_each(self, count):
        """Frames uint8 [count, H, W, 3] of the first images by the averages.

        A guided generator renders each image from the others: with the image itself among its
        photos it could copy it.
        """
        parts = _batches(self.pairs.each()[:count])
        return np.concatenate([to_uint8(self._of_row(part)) for part in parts])

    def content_of(self):
        """Mean content loss of the averages on the images, each rendered as in `render_each`."""
        parts = _batches(self.pairs.each())
        total = sum(float(self._content(part)) * len(part["image"]) for part in parts)
        return total / len(self.pairs.images)

    def _rendered(self, landmarks):
        psi_hat = _rows(self.averaged_psi_hat, landmarks)
        return self.pairs.rendered(self.averaged_generator, psi_hat, landmarks)

    def _synthesised(self, part):
        y = target_drawing(part, self.model)
        psi_hat = _rows(self.averaged_psi_hat, y)
        return self.pairs.synthesise(self.averaged_generator, psi_hat, part, y)

    def _content_of(self, part):
        x, x_hat = to_float(part["image"]), self._synthesised(part)
        return tf.add_n(list(self.content(x, x_hat, part["landmarks"]).values()))

    def state(self):
        """Name -> variable of everything an update reads or writes: the content of a snapshot."""
        state = {"psi_hat": self.psi_hat, "averaged_psi_hat": self.averaged_psi_hat}
        networks = (
            {"G": self.generator, "G_averaged": self.averaged_generator}
            if self.config.mode == "fine_tune"
            else {}
        )
        if self.discriminator is not None:
            networks["D"] = self.discriminator
        state.update(
            {
                f"{name}/{key}": v
                for name, network in networks.items()
                for key, v in network_state(network).items()
            }
        )
        for name, part in (
            ("generator_optimizer", self._step.generator),
            ("discriminator_optimizer", self._step.discriminator),
            ("averages", self.averages),
        ):
            if part is not None:
                state.update({f"{name}/{key}": variable for key, variable in part.state().items()})
        return state


def rate_factor(number, steps, config):
    """Factor of the learning rates at update `number`: linear rise, cosine fall to `final_rate`."""
    rise = min(1.0, (number + 1) / max(config.warm_up, 1))
    fall = 0.5 * (1.0 + math.cos(math.pi * number / max(steps, 1)))
    return rise * (config.final_rate + (1.0 - config.final_rate) * fall)


def embed(embedder, images, landmarks):
    """e_NEW [N]: the mean of E over the T images, uint8 [T, H, W, 3] with landmarks [T, 68, 2]."""
    vectors, size = [], embedder.config.working_size
    for start in range(0, len(images), _BATCH):
        x = to_float(shrunk(tf.constant(images[start : start + _BATCH]), size))
        points = tf.constant(landmarks[start : start + _BATCH], tf.float32)
        vectors.append(embedder(x, draw_landmarks(points, size)))
    return tf.reduce_mean(tf.concat(vectors, 0), axis=0)


def folded_weights(generator):
    """Weights of the folded generator (spectral norms divided in), float32, in its own order."""
    return generator.folded("float32").get_weights()


def stacked(rows):
    """A batch, name -> tensor [B, ...], of rows, name -> array."""
    return {name: tf.constant(np.stack([row[name] for row in rows])) for name in rows[0]}


def _batches(rows):
    return [stacked(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]


def _copy(generator):
    copy = make_generator(generator.config)
    copy.set_weights(generator.get_weights())
    return copy


def _without_projection(generator):
    """psi: the trainable variables of G without those of P."""
    projection = {id(variable) for variable in generator.P.trainable_variables}
    return [
        variable for variable in generator.trainable_variables if id(variable) not in projection
    ]


def _rows(psi_hat, batch):
    return tf.repeat(psi_hat[None], tf.shape(batch)[0], axis=0)
