"""The guided generator: the paper's G, which also sees the person's photos warped to the pose.

    y [B, w, w, 3], guide of photos, psi_hat [B, A]  ->  x_hat [B, S, S, 3] in [-1, 1]

E, P, psi_hat and D are the paper's. G's blocks with AdaIN work at w = S / 2 and predict, instead of
a picture alone, how to correct the warped photo:

    x_hat = mask * sample(photos, flow + residual) + (1 - mask) * colour

Several photos are sampled and blended (`guide.photo_of`). flow is the thin-plate spline of
guidance.py; residual is a learned displacement (64 x 64, bounded); mask and colour have size w and
are upsampled. The body learns to draw what photos do not show: the inside of a mouth, shut lids,
what a turn uncovers. With `config.foreground` it also predicts, on the grid of the flow, what moves
with the head:

    flow = identity + foreground * (spline - identity)

so that a patterned wall behind the head stays straight.
"""

import keras
import tensorflow as tf

from tf_talkinghead.models import guidance
from tf_talkinghead.models.blocks import AdaptiveInstanceNormalization, Gain, convolution
from tf_talkinghead.models.checks import checked, checked_drawing
from tf_talkinghead.models.colour import as_colourful
from tf_talkinghead.models.generator import Projection, adain_size, adain_sizes, copy_folded
from tf_talkinghead.models.guide import own_photos, photo_of, resized, warped
from tf_talkinghead.models.layers import PACKAGE
from tf_talkinghead.models.network import Network, add_block, down_part

# Input channels: y, warped photo, displacement, stretch, inside, gaze of target and photo.
_GUIDANCE = 3 + 3 + 2 + 1 + 1 + 2
_STILL = 3  # further input channels with `config.foreground`: the photo without warping
_TRUSTED = 2.0  # added to the mask before the sigmoid: at first the photo is shown
_MOVING = 4.0  # added to the foreground before the sigmoid: at first everything moves
_FAR = 4.0  # scale of displacements as an input: 1/4 of the picture becomes 1


class _GuidedBody(Network):
    """The guided G without P, with spectrally normalised or plain kernels."""

    spectral = True

    @property
    def adain_size(self):
        """A, the length of psi_hat."""
        return adain_size(self.config)

    def _build_body(self):
        config, channels = self.config, self.config.generator_channels
        inputs = _GUIDANCE + (_STILL if config.foreground else 0)
        self.down = down_part(self, inputs, channels, "instance", self.spectral)
        size, inputs = config.working_size >> len(channels), channels[-1]
        self.residual = [
            self._block(size, inputs, inputs, f"residual_{number}", "none")
            for number in range(config.generator_residual_blocks)
        ]
        self.up, self.skips = [], []
        for number, outputs in enumerate(reversed(channels)):
            self.up.append(self._block(size, inputs, outputs, f"up_{number}", "up"))
            size, inputs = 2 * size, outputs
            if number + 1 < len(channels):  # a skip connection from the down part at this size
                known = channels[-2 - number]
                self.skips.append(self._convolution(outputs, 1, known, f"skip_{number}"))
        self.closing_norm = AdaptiveInstanceNormalization(
            config.instance_norm_eps, dtype=self.dtype_policy, name="closing_norm"
        )
        self.closing = self._convolution(1 + 3, 3, inputs, "closing")
        self.closing_gain = self._gain(1.0, "closing_gain")
        widths = list(reversed(channels))
        sizes = [config.working_size >> (len(channels) - 1 - n) for n in range(len(channels))]
        # The up block, nearest to flow_size, whose output gives the residual flow.
        self.flow_level = min(range(len(sizes)), key=lambda n: abs(sizes[n] - config.flow_size))
        self.flow = self._convolution(2, 3, widths[self.flow_level], "flow")
        self.flow_gain = self._gain(0.0, "flow_gain")
        if config.foreground:
            self.foreground = self._convolution(1, 3, widths[self.flow_level], "foreground")
            self.foreground_gain = self._gain(1.0, "foreground_gain")

    def _block(self, size, inputs, outputs, name, resample):
        shape = (None, size, size, inputs)
        return add_block(self, shape, outputs, name, "adaptive", resample, spectral=self.spectral)

    def _convolution(self, outputs, kernel, inputs, name):
        eps = self.config.spectral_norm_eps
        layer = convolution(outputs, kernel, True, self.spectral, eps, self.dtype_policy, name)
        layer.build((None, None, None, inputs))
        return layer

    def _gain(self, start, name):
        layer = Gain(start, dtype="float32", name=name)
        layer.build()
        return layer

    def _leaves(self):
        """All layers of the body in building order, each before the layers it contains."""
        heads = [self.closing, self.closing_gain, self.flow, self.flow_gain]
        if self.config.foreground:
            heads += [self.foreground, self.foreground_gain]
        parts = [*self.down, *self.residual, *self.up, *self.skips, *heads]
        return [leaf for part in parts for leaf in part._flatten_layers()]

    def _render(self, y, guide, psi_hat, size):
        """x_hat [B, size, size, 3] float32."""
        config = self.config
        mask, colour, foreground, residual = self._body(y, guide, psi_hat)
        flow = guide["flow"]
        if config.foreground:
            identity = guidance.grid(config.flow_size)
            share = resized(foreground, config.flow_size)[:, None]
            flow = identity + share * (flow - identity)
        flow += resized(residual, config.flow_size)[:, None]
        photo = photo_of(guide, flow, size)
        mask, colour = resized(mask, size), resized(colour, size)
        x_hat = mask * photo + (1.0 - mask) * colour
        return tf.clip_by_value(as_colourful(x_hat, guide["small"], guide["rows"]), -1.0, 1.0)

    def _body(self, y, guide, psi_hat):
        """(mask [B, w, w, 1], colour [B, w, w, 3], foreground [B, f, f, 1] or None, residual flow
        [B, f, f, 2]).
        """
        config, size = self.config, self.config.working_size
        parts = iter(tf.split(psi_hat, adain_sizes(config), axis=-1))
        h = self._guidance(y, guide, size)  # [B, w, w, 12 or 15]
        known = []
        for layer in self.down:
            h = layer(h)  # ... [B, w/16, w/16, C]
            known.append(h)
        for layer in self.residual:
            h = layer(h, next(parts))
        skips, foreground = iter(zip(self.skips, reversed(known[:-1]))), None
        for number, layer in enumerate(self.up):
            h = layer(h, next(parts))  # ... [B, w, w, c]
            for skip, before in [next(skips)] if number < len(self.skips) else []:
                h += skip(before)
            if number == self.flow_level:
                active = tf.nn.relu(h)
                shift = self.flow_gain(tf.cast(self.flow(active), tf.float32))
                residual = config.residual_flow * tf.tanh(shift)
                if config.foreground:
                    share = self.foreground_gain(tf.cast(self.foreground(active), tf.float32))
                    foreground = tf.sigmoid(share + _MOVING)
        h = self.closing(tf.nn.relu(self.closing_norm(h, next(parts))))
        mask, colour = tf.split(self.closing_gain(tf.cast(h, tf.float32)), [1, 3], -1)
        return tf.sigmoid(mask + _TRUSTED), tf.tanh(colour), foreground, residual

    def _guidance(self, y, guide, size):
        flow = tf.stack(
            [resized(guide["flow"][:, m], size) for m in range(guide["flow"].shape[1])], 1
        )
        photo = warped(guide["small"], guide["rows"], guide["shares"], flow, size)
        mean = tf.einsum("bm,bmijc->bijc", guide["shares"], flow)
        far = _FAR * (mean - guidance.grid(size))
        stretch = guidance.stretch(mean) / guidance.STRETCH_LIMIT
        inside = guidance.inside(mean)
        inputs = [y, photo, far, stretch, inside, guide["gaze"]]
        if self.config.foreground:
            shares = guide["shares"][..., None, None, None]
            still = tf.reduce_sum(shares * own_photos(guide), 1)
            inputs.append(still / 127.5 - 1.0)
        return tf.concat(inputs, -1)

    def _checked(self, y, guide):
        size, count = self.config.working_size, guide["flow"].shape[1]
        grid = (count, self.config.flow_size, self.config.flow_size, 2)
        flow = checked("guide['flow']", guide["flow"], grid)
        return checked_drawing("y", y, size), {**guide, "flow": flow}

    def _checked_psi(self, psi_hat):
        return checked("psi_hat", psi_hat, (self.adain_size,))


@keras.saving.register_keras_serializable(PACKAGE)
class GuidedGenerator(Projection, _GuidedBody):
    """The guided G with P: `generator(y, guide, psi_hat=...)` or `generator(y, guide, e_hat=...)`.

    Both return x_hat float32 [B, S, S, 3] in [-1, 1]. y is a drawing [B, S/2, S/2, 3] in [0, 1],
    guide the result of `guide.make_guide`.

    Raises:
      InputError: a wrong shape or range, or both or none of psi_hat and e_hat.
    """

    def build(self, input_shape=None):
        self._build_body()
        self._build_projection()

    def call(self, y, guide, psi_hat=None, e_hat=None):
        y, guide = self._checked(y, guide)
        return self._render(y, guide, self._psi(psi_hat, e_hat), self.config.image_size)

    def folded(self, dtype=None):
        """The equivalent FoldedGuidedGenerator: plain kernels, without P.

        Args:
          dtype: dtype policy of the result; by default this generator's.
        """
        result = FoldedGuidedGenerator(self.config, dtype=dtype or self.dtype_policy)
        result.build()
        copy_folded(self, result)
        return result


@keras.saving.register_keras_serializable(PACKAGE)
class FoldedGuidedGenerator(_GuidedBody):
    """The guided G for serving: `folded(y, guide, psi_hat, size=None)` -> x_hat, without P.

    `size` is the side of the result in pixels, `config.image_size` by default. Larger sizes need no
    training: flow, mask and colour are upsampled, and the result is as sharp as the photos. Made by
    `GuidedGenerator.folded`.
    """

    spectral = False

    def build(self, input_shape=None):
        self._build_body()

    def call(self, y, guide, psi_hat, size=None):
        y, guide = self._checked(y, guide)
        return self._render(y, guide, self._checked_psi(psi_hat), size or self.config.image_size)
