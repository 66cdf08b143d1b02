"""Adam for the networks, a row-wise Adam for W, and `Player`: networks that are trained together.

Gradients arrive per replica and are **summed** over replicas here, in `Player.update`, once and nowhere
else: a loss must therefore be divided by the global batch (or by the number of replicas, if it is already a
replica's mean) before its gradient is taken. Every variable written here is written in cross-replica context
by `strategy.extended.update`, so replicas cannot drift apart.

`RowAdam` is Adam as a matrix of independent rows would see it, each row with its own clock:

    rows touched by this batch only:  n_r += 1,  v_r = beta2 v_r + (1 - beta2) g_r^2,
                                      W_r -= rate sqrt(1 - beta2^n_r) g_r / (sqrt(v_r) + epsilon)

where g_r sums the batch's gradients of row r. A row that is not in the batch keeps W_r, v_r and n_r (dense
Adam would decay v for all of them, at a cost that grows with the number of videos). It has no first moment,
so it is Adam with beta1 = 0, the value used for everything else in preset `paper`; where every row is in
every batch it equals dense Adam with beta1 = 0 exactly.
"""

import tensorflow as tf

ONE_FOR_ALL = tf.VariableAggregation.ONLY_FIRST_REPLICA  # every replica computes the same new value


def state_variable(value, dtype=tf.float32, name=None):
    """A variable of training state, not trained, the same on every replica. `value`: a tensor or numpy array."""
    return tf.Variable(value, trainable=False, dtype=dtype, name=name, aggregation=ONE_FOR_ALL)


def raw(variables):
    """The tf.Variables inside Keras variables; tf.Variables pass through."""
    return [
        variable if isinstance(variable, tf.Variable) else variable.value for variable in variables
    ]


class Adam:
    """Adam on dense variables, all state in tf.Variables.

    Update, t counting from 1:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
    variable -= rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon), as Keras writes it.
    """

    def __init__(self, learning_rate, beta_1=0.0, beta_2=0.999, epsilon=1e-5):
        self.rate = state_variable(learning_rate, name="rate")
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.count = state_variable(0, tf.int64, "count")

    def build(self, variables):
        """Makes the slots; call under the strategy's scope."""
        self.m = [state_variable(tf.zeros_like(variable)) for variable in variables]
        self.v = [state_variable(tf.zeros_like(variable)) for variable in variables]

    def state(self):
        """Name -> variable, everything a checkpoint needs."""
        slots = {f"m/{i:03d}": slot for i, slot in enumerate(self.m)}
        slots.update({f"v/{i:03d}": slot for i, slot in enumerate(self.v)})
        return {"count": self.count, **slots}

    def apply(self, extended, gradients, variables, finite):
        """One update in cross-replica context; nothing is written where `finite` (bool per replica) is false."""
        extended.update(
            self.count,
            lambda count, ok: count.assign_add(tf.cast(ok, tf.int64)),
            (finite,),
            group=False,
        )
        for variable, gradient, m, v in zip(variables, gradients, self.m, self.v):
            extended.update(
                variable, self._update, (gradient, m, v, self.count, self.rate, finite), group=False
            )

    def _update(self, variable, gradient, m, v, count, rate, finite):
        t = tf.cast(count.read_value(), tf.float32)

        def write():
            return tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=self.beta_1**t,
                beta2_power=self.beta_2**t,
                lr=rate.read_value(),
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )

        return _when(finite, write)


class RowAdam:
    """The row-wise Adam of this module's first lines, for one matrix [rows, N] with tf.IndexedSlices gradients."""

    def __init__(self, learning_rate, beta_2=0.999, epsilon=1e-5):
        self.rate = state_variable(learning_rate, name="rate")
        self.beta_2, self.epsilon = beta_2, epsilon

    def build(self, variables):
        (matrix,) = variables
        self.v = state_variable(tf.zeros_like(matrix), name="row_v")
        self.counts = state_variable(tf.zeros([matrix.shape[0]], tf.int64), tf.int64, "row_counts")

    def state(self):
        return {"row_v": self.v, "row_counts": self.counts}

    def apply(self, extended, gradients, variables, finite):
        """One update in cross-replica context, costing what the batch touches."""
        (slices,), (matrix,) = gradients, variables
        extended.update(
            matrix, self._update, (slices, self.v, self.counts, self.rate, finite), group=False
        )

    def _update(self, matrix, slices, v, counts, rate, finite):
        def write():
            rows, place = tf.unique(slices.indices)  # rows [R], place [B]
            gradient = tf.math.unsorted_segment_sum(slices.values, place, tf.size(rows))  # [R, N]
            count = tf.gather(counts, rows) + 1
            second = self.beta_2 * tf.gather(v, rows) + (1 - self.beta_2) * tf.square(gradient)
            correction = tf.sqrt(1 - self.beta_2 ** tf.cast(count, tf.float32))[:, None]
            change = rate.read_value() * correction * gradient / (tf.sqrt(second) + self.epsilon)
            return tf.group(
                tf.raw_ops.ResourceScatterUpdate(
                    resource=counts.handle, indices=rows, updates=count
                ),
                tf.raw_ops.ResourceScatterUpdate(resource=v.handle, indices=rows, updates=second),
                tf.raw_ops.ResourceScatterSub(resource=matrix.handle, indices=rows, updates=change),
            )

        return _when(finite, write)


class Player:
    """Networks trained by one loss: what is power-iterated before an update, and which optimizer moves what.

    `networks`: what `power_iterate` is called on. `groups`: pairs (variables, optimizer); a variable with
    tf.IndexedSlices gradients goes with a `RowAdam` of its own. Build it under the strategy's scope.
    """

    def __init__(self, networks, groups):
        self.networks = list(networks)
        self.groups = [(raw(variables), optimizer) for variables, optimizer in groups]
        self.variables = [variable for variables, _ in self.groups for variable in variables]
        for variables, optimizer in self.groups:
            optimizer.build(variables)

    def state(self):
        """Name -> variable of all optimizers."""
        return {
            f"{i}/{name}": variable
            for i, (_, optimizer) in enumerate(self.groups)
            for name, variable in optimizer.state().items()
        }

    def update(self, gradients, loss_scale=None):
        """Sums `gradients` (one per variable, of this replica's share of the loss) over replicas and applies them.

        Call in replica context. With `loss_scale` the gradients are divided by it and an update with a
        non-finite gradient is skipped. Returns (norm of the summed gradients, finite), float32 and bool scalars.
        """
        context = tf.distribute.get_replica_context()
        gradients = [
            _dense_zero(variable) if gradient is None else gradient
            for gradient, variable in zip(gradients, self.variables)
        ]
        if context.num_replicas_in_sync > 1:
            gradients = context.all_reduce(
                tf.distribute.ReduceOp.SUM, gradients
            )  # the one reduction, a sum
        if loss_scale is not None:
            gradients = [_scaled(gradient, 1.0 / loss_scale) for gradient in gradients]
        norm = tf.sqrt(
            tf.add_n([tf.reduce_sum(tf.square(_values(gradient))) for gradient in gradients])
        )
        finite = tf.math.is_finite(norm) if loss_scale is not None else tf.constant(True)
        with tf.control_dependencies([norm]):
            context.merge_call(self._apply, args=(gradients, finite))
        return norm, finite

    def _apply(self, strategy, gradients, finite):
        start = 0
        for variables, optimizer in self.groups:
            optimizer.apply(
                strategy.extended, gradients[start : start + len(variables)], variables, finite
            )
            start += len(variables)


class LossScale:
    """Dynamic loss scaling for float16: doubled after `growth` good steps in a row, halved at each bad one."""

    def __init__(self, initial=2.0**15, growth=2000):
        self.growth = growth
        self.scale = state_variable(initial, name="loss_scale")
        self.good = state_variable(0, tf.int64, "good_steps")

    def state(self):
        return {"scale": self.scale, "good": self.good}

    def update(self, finite):
        """Counts one step, in replica context; `finite` is the same on every replica."""
        good = tf.where(finite, self.good + 1, 0)
        grow = good >= self.growth
        scale = tf.where(
            finite, tf.where(grow, self.scale * 2.0, self.scale), tf.maximum(self.scale / 2.0, 1.0)
        )
        self.scale.assign(scale)
        self.good.assign(tf.where(grow, tf.zeros_like(good), good))


def _when(finite, write):
    if tf.get_static_value(finite) is True:
        return write()
    return tf.cond(finite, lambda: tf.group(write()), tf.no_op)


def _values(gradient):
    """The numbers of a gradient, of tf.IndexedSlices one summed row for each index."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    return tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))


def _scaled(gradient, factor):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * factor, gradient.indices, gradient.dense_shape)
    return gradient * factor


def _dense_zero(variable):
    return tf.zeros(variable.shape, variable.dtype)
