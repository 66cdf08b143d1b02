"""One adversarial update (Sec. 3.2, and Sec. 3.3 for a new person), as the paper's algorithm.

Who makes the picture (E, G and P, or a person's generator with a free psi') and which discriminator judges it
are arguments, so meta-learning and personalisation run the same lines:

    synthesise(part, y)      -> Synthesis(x_hat [B,H,W,3] in [-1,1], e_hat [B,N] or None)
    discriminate(x, y, part) -> (score [B], [activations after each block, [B,h,w,c]])

`part` is a batch, or a micro-batch of it: `image` uint8 [B,H,W,3], `landmarks` float32 [B,68,2] and whatever
else `synthesise` and `discriminate` read (context frames, the row of W). x is in [-1, 1], y in [0, 1].
"""

from typing import NamedTuple

import tensorflow as tf

from tf_talkinghead import losses
from tf_talkinghead.data.drawing import draw_landmarks
from tf_talkinghead.images import to_float
from tf_talkinghead.models.layers import power_iterate


class Synthesis(NamedTuple):
    """What the creator made: x_hat [B,H,W,3] and, where it has one, the person vector e_hat [B,N]."""

    x_hat: tf.Tensor
    e_hat: tf.Tensor | None = None


class AdversarialStep:
    """One update of the creator, then `discriminator_steps` of the critic, in replica context.

    weights: LossConfig. content: `content(x, x_hat, landmarks) -> {name: weighted scalar}`.
    creator, critic: `Player`s; critic None where nothing adversarial is ever asked for.
    W: the matrix of the match term (one of critic's variables; its rows are chosen by `part["index"]`), or
        None for the feed-forward variant and for personalisation.
    averages: `Averages` moved after the creator's update, or None.
    micro_batches: gradients are accumulated over this many equal parts of the batch.
    loss_scale: `LossScale` for float16, or None.

    The name scopes say in a profile what an operation is part of (benchmark/step_profile.py).
    """

    def __init__(self, *, weights, content, synthesise, discriminate, creator, critic, discriminator_steps=1, W=None, averages=None,
                 micro_batches=1, loss_scale=None):  # fmt: skip
        self.weights, self.content = weights, content
        self.synthesise, self.discriminate = synthesise, discriminate
        self.creator, self.critic = creator, critic
        self.discriminator_steps = discriminator_steps
        self.W, self.averages = W, averages
        self.micro_batches, self.loss_scale = micro_batches, loss_scale

    def __call__(self, batch, adversarial=True):
        """Updates on `batch` (this replica's); `adversarial` False: content only, the critic rests.

        Returns {term: scalar}: weighted loss terms and `loss` (their sum; means over this replica's batch),
        `discriminator` when it took part, and gradient norms of the whole batch.
        """
        parts = _split(batch, self.micro_batches)
        # Every loss is a mean over its part; Player.update sums over replicas, gradients are summed over
        # parts: so each part's share of the global mean is 1 / (parts x replicas).
        share = 1.0 / (
            self.micro_batches * tf.distribute.get_replica_context().num_replicas_in_sync
        )
        scale = self.loss_scale.scale if self.loss_scale else None

        # --- E, G and P (or psi and psi'): content + adversarial + feature matching + match
        _power_iterate(self.creator.networks)
        gradients, match_gradient, terms, fakes = None, None, {}, []
        for part in parts:
            with _after(gradients), tf.name_scope("creator"):
                part_terms, part_gradients, part_match, x_hat = self._creator_part(
                    part, adversarial, share, scale
                )
            gradients, match_gradient = (
                _sum(gradients, part_gradients),
                _sum(match_gradient, part_match),
            )
            fakes.append(x_hat)
            _add_terms(terms, part_terms, self.micro_batches)
        with tf.name_scope("optimizer"):
            terms["gradient_norm"], finite = self.creator.update(gradients, scale)
        if self.averages:
            with tf.name_scope("averages"):
                self.averages.update()

        # --- D: hinge on the real frames and on the frames just made (Sec. 3.2), `discriminator_steps` times
        if adversarial:
            for repeat in range(self.discriminator_steps):
                _power_iterate(self.critic.networks)
                gradients, hinge = None, {}
                for part, x_hat in zip(parts, fakes):
                    with _after(gradients), tf.name_scope("critic"):
                        part_terms, part_gradients = self._critic_part(part, x_hat, share, scale)
                    gradients = _sum(gradients, part_gradients)
                    _add_terms(hinge, part_terms, self.micro_batches)
                if (
                    self.W is not None and repeat == 0
                ):  # the match term moves W with D's optimizer, once
                    at = next(
                        i for i, variable in enumerate(self.critic.variables) if variable is self.W
                    )
                    gradients[at] = _join(gradients[at], match_gradient)
                with tf.name_scope("optimizer"):
                    terms["discriminator_gradient_norm"], critic_finite = self.critic.update(
                        gradients, scale
                    )
                terms["discriminator"] = hinge["discriminator"]
                finite = tf.logical_and(finite, critic_finite)
        if self.loss_scale:
            self.loss_scale.update(finite)
            terms["loss_scale"] = self.loss_scale.scale.read_value()
        return terms

    def _creator_part(self, part, adversarial, share, scale):
        """(terms, gradients of creator's variables, gradient of W, x_hat) of one micro-batch."""
        weights = self.weights
        x, y = to_float(part["image"]), drawing(part)
        rows = tf.gather(self.W, part["index"]) if self.W is not None and adversarial else None
        with tf.GradientTape() as tape:
            x_hat, e_hat = self.synthesise(part, y)
            with tf.name_scope("content"):
                terms = dict(self.content(x, x_hat, part["landmarks"]))
            if adversarial:
                with tf.name_scope("judge"):
                    score, fake = self.discriminate(x_hat, y, part)
                    _, real = self.discriminate(x, y, part)
                terms["adversarial"] = weights.adversarial * losses.adversarial(score)
                terms["feature_matching"] = weights.feature_matching * losses.feature_matching(
                    real, fake
                )
            if rows is not None:
                terms["match"] = weights.match * losses.match(e_hat, rows)
            loss = tf.add_n(list(terms.values()))
            target = loss * share * (1.0 if scale is None else scale)
        gradients = tape.gradient(target, self.creator.variables)
        terms["loss"] = loss
        match_gradient = None
        if (
            rows is not None
        ):  # of the match term alone: D's own score moves W only through the hinge
            with tf.GradientTape() as tape:
                rows = tf.gather(self.W, part["index"])
                match = (
                    weights.match
                    * losses.match(e_hat, rows)
                    * share
                    * (1.0 if scale is None else scale)
                )
            match_gradient = tape.gradient(match, self.W)
        return terms, gradients, match_gradient, tf.stop_gradient(x_hat)

    def _critic_part(self, part, x_hat, share, scale):
        """(terms, gradients of critic's variables) of one micro-batch; x_hat is the creator's, held fixed."""
        x, y = to_float(part["image"]), drawing(part)
        with tf.GradientTape() as tape:
            real, _ = self.discriminate(x, y, part)
            fake, _ = self.discriminate(x_hat, y, part)
            loss = losses.discriminator_hinge(real, fake)
            target = loss * share * (1.0 if scale is None else scale)
        return {"discriminator": loss}, tape.gradient(target, self.critic.variables)


def drawing(part):
    """y [B,H,W,3] of a batch's target frames."""
    with tf.name_scope("drawing"):
        return (
            part["y"] if "y" in part else draw_landmarks(part["landmarks"], part["image"].shape[1])
        )


def _power_iterate(networks):
    with tf.name_scope("spectral_norm"):
        for network in networks:
            power_iterate(network)


def _split(batch, count):
    """`batch` as `count` equal micro-batches, in order."""
    if count == 1:
        return [batch]
    columns = {name: tf.split(value, count) for name, value in batch.items()}
    return [{name: column[i] for name, column in columns.items()} for i in range(count)]


def _after(gradients):
    """Makes what follows wait for `gradients`, so that micro-batches take their memory one after another."""
    return tf.control_dependencies(
        []
        if gradients is None
        else [g for g in tf.nest.flatten(gradients, expand_composites=True) if g is not None]
    )


def _sum(total, more):
    """Lists of gradients (or single ones) added; None is nothing."""
    if total is None or more is None:
        return more if total is None else total
    if isinstance(more, list):
        return [_join(a, b) for a, b in zip(total, more)]
    return _join(total, more)


def _join(a, b):
    """Two gradients of one variable added; rows of tf.IndexedSlices are kept side by side."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, tf.IndexedSlices):
        return tf.IndexedSlices(
            tf.concat([a.values, b.values], 0), tf.concat([a.indices, b.indices], 0), a.dense_shape
        )
    return a + b


def _add_terms(total, terms, parts):
    for name, value in terms.items():
        total[name] = total.get(name, 0.0) + value / parts
