"""One adversarial update (Sec. 3.2; Sec. 3.3 for a new person), written as the paper's algorithm.

The functions that render and score a frame are arguments, so meta-learning (E, G and P) and
personalisation (a person's generator with a free psi') use the same code:

    synthesise(part, y)      -> Synthesis(x_hat [B,H,W,3] in [-1,1], e_hat [B,N] or None)
    discriminate(x, y, part) -> (score [B], [activations after each block, [B,h,w,c]])

`part` is a batch, or a micro-batch of it: `image` uint8 [B,H,W,3], `landmarks` float32 [B,68,2] and
whatever else `synthesise` and `discriminate` read (context frames, the row of W). x is in [-1, 1],
y in [0, 1]. A profile assigns operations to parts of the step by the name scopes
(benchmark/step_profile.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from tf_talkinghead import losses
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.images import to_float
from tf_talkinghead.models.layers import power_iterate
from tf_talkinghead.training.micro_batches import add_gradients, after, mean_terms, split


class Synthesis(NamedTuple):
    """A rendered frame x_hat [B,H,W,3] and, where there is one, the person vector e_hat [B,N]."""

    x_hat: tf.Tensor
    e_hat: tf.Tensor | None = None


@dataclass(frozen=True)
class GeneratorResult:
    """Result of the generator's step, for the discriminator's step and the caller.

    Attributes:
      terms: {name: scalar}, weighted loss terms, `loss` (their sum) and `gradient_norm`.
      x_hats: the rendered frames of each micro-batch, without gradient.
      match_gradient: d match / d W (tf.IndexedSlices) of this replica's share of the batch, or
      None.
    """

    terms: dict
    x_hats: list
    match_gradient: tf.IndexedSlices | None


@dataclass(frozen=True)
class _PartGradients:
    """One micro-batch's loss terms, gradients of trained variables, d match / d W and frames."""

    terms: dict
    gradients: list
    match_gradient: tf.IndexedSlices | None = None
    x_hat: tf.Tensor | None = None


class AdversarialStep:
    """One update of the generator, then `discriminator_steps` updates of the discriminator.

    Call it in replica context.

    Args:
      weights: LossConfig.
      content: `content(x, x_hat, landmarks) -> {name: weighted scalar}`.
      synthesise, discriminate: see the module docstring.
      generator, discriminator: `OptimizedNetworks`; discriminator None where no update is
        adversarial.
      discriminator_steps: updates of D for one of the generator.
      W: the match term's matrix (a variable of `discriminator`; its rows are chosen by
        `part["index"]`), or None for the feed-forward variant and for personalisation.
      averages: `Averages`, updated after the generator's update, or None.
      micro_batches: gradients are accumulated over this many equal parts of the batch.
    """

    def __init__(
        self,
        *,
        weights,
        content,
        synthesise,
        discriminate,
        generator,
        discriminator,
        discriminator_steps=1,
        W=None,
        averages=None,
        micro_batches=1,
    ):
        self.weights, self.content = weights, content
        self.synthesise, self.discriminate = synthesise, discriminate
        self.generator, self.discriminator = generator, discriminator
        self.discriminator_steps = discriminator_steps
        self.W, self.averages, self.micro_batches = W, averages, micro_batches

    def __call__(self, batch, adversarial=True):
        """Updates on `batch` (this replica's); without `adversarial`, by the content loss only.

        Returns:
          {term: scalar}: weighted loss terms and `loss` (their sum), means over this replica's
          batch, `discriminator` when it took part, and the gradient norms of the whole batch.
        """
        parts = split(batch, self.micro_batches)
        generated = self.generator_step(parts, adversarial)
        terms = dict(generated.terms)
        for repeat in range(self.discriminator_steps if adversarial else 0):
            # The match term moves W with D's optimizer, once for each E + G update.
            match_gradient = generated.match_gradient if repeat == 0 else None
            terms.update(self.discriminator_step(parts, generated.x_hats, match_gradient))
        return terms

    def generator_step(self, parts, adversarial):
        """Updates E, G, P (or psi, psi'): content + adversarial + feature matching + match."""
        _power_iterate(self.generator.networks)
        gradients, match_gradient, done = None, None, []
        for part in parts:
            with after(gradients), tf.name_scope("generator_step"):
                done.append(self._generator_gradients(part, adversarial))
            gradients = add_gradients(gradients, done[-1].gradients)
            match_gradient = add_gradients(match_gradient, done[-1].match_gradient)
        with tf.name_scope("optimizer"):
            norm = self.generator.update(gradients)
        if self.averages:
            with tf.name_scope("averages"):
                self.averages.update()
        terms = {**mean_terms([part.terms for part in done]), "gradient_norm": norm}
        return GeneratorResult(terms, [part.x_hat for part in done], match_gradient)

    def discriminator_step(self, parts, x_hats, match_gradient):
        """Updates V, W, w_0 and b: hinge on the real frames and on the frames just rendered."""
        _power_iterate(self.discriminator.networks)
        gradients, done = None, []
        for part, x_hat in zip(parts, x_hats, strict=True):
            with after(gradients), tf.name_scope("discriminator_step"):
                done.append(self._discriminator_gradients(part, x_hat))
            gradients = add_gradients(gradients, done[-1].gradients)
        if match_gradient is not None:
            at = self.discriminator.position(self.W)
            gradients[at] = add_gradients(gradients[at], match_gradient)
        with tf.name_scope("optimizer"):
            norm = self.discriminator.update(gradients)
        terms = mean_terms([part.terms for part in done])
        return {**terms, "discriminator_gradient_norm": norm}

    def _generator_gradients(self, part, adversarial):
        """x_hat = G(y, e_hat), its loss terms and their gradients, of one micro-batch."""
        weights = self.weights
        x, y = to_float(part["image"]), drawing(part)
        with_match = self.W is not None and adversarial
        W_i = tf.gather(self.W, part["index"]) if with_match else None
        with tf.GradientTape() as tape:
            x_hat, e_hat = self.synthesise(part, y)
            with tf.name_scope("content"):
                terms = dict(self.content(x, x_hat, part["landmarks"]))
            if adversarial:
                with tf.name_scope("scoring"):
                    score, fake = self.discriminate(x_hat, y, part)
                    _, real = self.discriminate(x, y, part)
                matching = losses.feature_matching(real, fake)
                terms["adversarial"] = weights.adversarial * losses.adversarial(score)
                terms["feature_matching"] = weights.feature_matching * matching
            if with_match:
                terms["match"] = weights.match * losses.match(e_hat, W_i)
            terms["loss"] = tf.add_n(list(terms.values()))
            loss = terms["loss"] * self._share()
        gradients = tape.gradient(loss, self.generator.variables)
        match_gradient = self._match_gradient(e_hat, part) if with_match else None
        return _PartGradients(terms, gradients, match_gradient, tf.stop_gradient(x_hat))

    def _match_gradient(self, e_hat, part):
        """d match / d W, of the match term alone: otherwise only the hinge loss trains W."""
        with tf.GradientTape() as tape:
            match = losses.match(e_hat, tf.gather(self.W, part["index"]))
            loss = self.weights.match * match * self._share()
        return tape.gradient(loss, self.W)

    def _discriminator_gradients(self, part, x_hat):
        """max(0, 1 + D(x_hat)) + max(0, 1 - D(x)) and its gradients, of one micro-batch.

        No gradient passes to the generator: x_hat is given as a constant.
        """
        x, y = to_float(part["image"]), drawing(part)
        with tf.GradientTape() as tape:
            real, _ = self.discriminate(x, y, part)
            fake, _ = self.discriminate(x_hat, y, part)
            hinge = losses.discriminator_hinge(real, fake)
            loss = hinge * self._share()
        gradients = tape.gradient(loss, self.discriminator.variables)
        return _PartGradients({"discriminator": hinge}, gradients)

    def _share(self):
        """Factor of a micro-batch's mean loss before its gradient is taken.

        Gradients are summed over micro-batches here and over replicas in
        `OptimizedNetworks.update`; with this factor the sum is the gradient of the mean over the
        global batch.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return 1.0 / (self.micro_batches * replicas)


def drawing(part):
    """The drawing y of a batch's target frames, [B,H,W,3]: `part["y"]`, or drawn at their size."""
    if "y" in part:
        return part["y"]
    with tf.name_scope("drawing"):
        return draw_landmarks(part["landmarks"], part["image"].shape[1])


def _power_iterate(networks):
    with tf.name_scope("spectral_norm"):
        for network in networks:
            power_iterate(network)
