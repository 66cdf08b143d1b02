"""The content loss of a LossConfig: networks built once, then a pure function of tensors."""

import tensorflow as tf

from tf_talkinghead import losses
from tf_talkinghead.config_checks import CLOSE_UP_SHARE
from tf_talkinghead.models import perceptual
from tf_talkinghead.models.checks import checked_image


def content_loss(config, image_size):
    """The content term of `config`, a LossConfig.

    `perceptual="vgg"` is the paper's: VGG19 on the frame and VGGFace on the face.
    `perceptual="dlib"` needs no weights beyond the requirements: pixels, their differences, SSIM,
    and dlib's face network on the face. A term whose weight is 0 is absent and costs no time.

    Args:
      config: LossConfig.
      image_size: H = W of the images.

    Returns:
      A function (x, x_hat, landmarks) -> dict of weighted float32 scalars by name, each a mean over
      the batch; x and x_hat [B, H, W, 3] in [-1, 1], landmarks [B, 68, 2]. Only x_hat receives
      gradients.

    Raises:
      MissingWeightsError: a network's weight file is absent; the message names the flag.
    """
    networks = _networks(config)

    def terms(x, x_hat, landmarks):
        x = tf.stop_gradient(checked_image("x", x, image_size))
        x_hat = checked_image("x_hat", x_hat, image_size)
        result = _plain_terms(config, x, x_hat)
        if config.parts:
            boxes = losses.part_boxes(tf.stop_gradient(landmarks), config.part_box_margin)
            result["parts"] = config.parts * tf.add_n(
                list(_plain_terms(config, *_close_ups(x, x_hat, boxes)).values())
            )
        for name, (weight, network, on_face) in networks.items():
            if on_face:
                boxes = losses.face_boxes(tf.stop_gradient(landmarks), config.face_box_margin)
                crops = [
                    losses.crop_faces(image, boxes, network.image_size) for image in (x, x_hat)
                ]
            else:
                crops = [x, x_hat]
            # Two calls instead of one with both images: the real one then needs no backward pass.
            real, fake = (network.activations((crop + 1.0) * 127.5) for crop in crops)
            result[name] = weight * losses.content(real, fake)
        return result

    return terms


def _plain_terms(config, x, x_hat):
    """The terms that need no network: name -> weighted scalar."""
    terms = {
        "pixel": (config.pixel, losses.pixel),
        "gradient": (config.gradient, losses.gradient),
        "structure": (config.structure, losses.structure),
    }
    return {
        name: weight * function(x, x_hat) for name, (weight, function) in terms.items() if weight
    }


def _close_ups(x, x_hat, boxes):
    """Crops of the boxes [B, P, 4] from both images, [B * P, H/4, W/4, 3] each.

    Eyes and mouth cover about 5 % of a frame. As images of their own their loss can weigh as much
    as that of the whole frame.
    """
    size, count = x.shape[1] // CLOSE_UP_SHARE, boxes.shape[1]
    flat = tf.reshape(boxes, [-1, 4])
    return [losses.crop_faces(tf.repeat(image, count, axis=0), flat, size) for image in (x, x_hat)]


def check_weight_files(config):
    """Checks, without loading them, that the weight files a LossConfig needs exist.

    VGG19 without a named file means Keras's own, which is not checked: it may have to be
    downloaded.

    Raises:
      MissingWeightsError: a file is absent; the message names the flag.
    """
    if config.perceptual == "vgg":
        for name in ("vgg19", "vggface"):
            if getattr(config, name):
                perceptual.check_file(name, getattr(config, f"{name}_weights"))


def _networks(config):
    """The frozen networks of the terms in use.

    Name -> (weight of the term, network, whether it sees the face box only).
    """
    networks = {}
    if config.perceptual == "vgg":
        if config.vgg19:
            networks["vgg19"] = (
                config.vgg19,
                perceptual.vgg19(config.vgg19_weights),
                False,
            )
        if config.vggface:
            networks["vggface"] = (
                config.vggface,
                perceptual.vggface(config.vggface_weights),
                True,
            )
    if config.face:
        networks["face"] = (config.face, perceptual.face_network(), True)
    return networks
