"""Morphing: where several photos are blended, each shows everything at the same place.

The spline of guidance.py brings the landmarks of two photos to one place, but not hair, ears, neck
and clothes: blended, they would be seen twice. `personalization.correspondence` finds where each
thing of a photo is in the others. Here every photo is warped so that each thing lies at the mean of
its places, weighed by the shares: a blend of photos is then sharp, and in a turn hair moves from
its place in one photo to that in the next (Wolberg, Image morphing: a survey, The Visual Computer
1998).
"""

import tensorflow as tf

from tf_talkinghead.models import guidance


def morphed(flow, shares, offsets):
    """The flow to each photo, changed so that all photos show each thing at its mean place.

    Args:
      flow: float32 [B, M, f, f, 2], positions in the photos (`guidance.spline`).
      shares: float32 [B, M].
      offsets: float16 or float32 [B, M, M, g, g, 2]: what is at the place x of photo i is at
        x + offsets[:, i, j] of photo j brought to the landmarks of photo i; fractions.

    Returns:
      float32 [B, M, f, f, 2].
    """
    count, size, grid = flow.shape[1], flow.shape[2], offsets.shape[3]
    # From a thing's place in photo i to the mean of its places.
    mean = tf.einsum("bj,bijyxc->biyxc", shares, tf.cast(offsets, tf.float32))
    mean = tf.reshape(mean, [-1, grid, grid, 2])
    at = tf.reshape(flow, [-1, size, size, 2])
    # The thing whose mean place is p lies at x = p - mean(x), or nearly p - mean(p).
    found = at - guidance.sample(mean, tf.range(tf.shape(at)[0]), at)
    return tf.reshape(found, [-1, count, size, size, 2])


def offsets_between(offsets, rows):
    """Offsets [B, M, M, g, g, 2] between the photos `rows` [B, M].

    `offsets` is [N, N, g, g, 2], or [B, N, N, g, g, 2] with one set of photos for each frame.
    """
    if offsets.shape.rank == 5:
        first = tf.gather(offsets, rows)  # [B, M, N, g, g, 2]
    else:
        first = tf.gather(offsets, rows, batch_dims=1)
    second = tf.repeat(rows[:, None], rows.shape[1], axis=1)  # [B, M, M]
    return tf.gather(first, second, axis=2, batch_dims=2)
