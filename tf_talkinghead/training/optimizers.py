"""Adam for the networks, lazy Adam for W, and `OptimizedNetworks`: networks that one loss trains.

Gradients arrive per replica and are **summed** over replicas in `OptimizedNetworks.update`, once
and nowhere else: a loss must therefore be divided by the global batch (or by the number of
replicas, if it is already a replica's mean) before its gradient is taken. Every variable written
here is written in cross-replica context by `strategy.extended.update`, so replicas cannot drift
apart.
"""

import tensorflow as tf

# Aggregation of variables for which every replica computes the same new value.
SAME_ON_ALL = tf.VariableAggregation.ONLY_FIRST_REPLICA


def state_variable(value, dtype=tf.float32, name=None):
    """An untrained variable, the same on every replica. `value`: a tensor or a numpy array."""
    return tf.Variable(value, trainable=False, dtype=dtype, name=name, aggregation=SAME_ON_ALL)


def raw(variables):
    """The tf.Variables inside Keras variables; tf.Variables pass through."""
    return [
        variable if isinstance(variable, tf.Variable) else variable.value for variable in variables
    ]


class _Optimizer:
    """The learning rate and the count t of updates that both kinds of Adam have.

    Attributes:
      rate: float32 variable, what updates read.
      count: int64 variable, t.
    """

    def __init__(self, learning_rate):
        self.rate = state_variable(learning_rate, name="rate")
        self.count = state_variable(0, tf.int64, "count")
        self._rate_on_host = float(learning_rate)

    @property
    def current_rate(self):
        """The learning rate, a float: the host's copy, since reading `rate` waits for a device."""
        return self._rate_on_host

    def set_rate(self, value):
        """Sets the learning rate of the next update; an unchanged rate is not sent to devices."""
        if value != self._rate_on_host:
            self._rate_on_host = float(value)
            self.rate.assign(value)


class Adam(_Optimizer):
    """Adam on dense variables, as Keras writes it.

    t counts from 1:  m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
    variable -= rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon).
    """

    def __init__(self, learning_rate, beta_1=0.0, beta_2=0.999, epsilon=1e-5):
        super().__init__(learning_rate)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def build(self, variables):
        """Makes the slots m and v of `variables`; call it under the strategy's scope."""
        self.m = [state_variable(tf.zeros_like(variable)) for variable in variables]
        self.v = [state_variable(tf.zeros_like(variable)) for variable in variables]

    def state(self):
        """Name -> variable, everything a checkpoint needs."""
        slots = {f"m/{i:03d}": slot for i, slot in enumerate(self.m)}
        slots.update({f"v/{i:03d}": slot for i, slot in enumerate(self.v)})
        return {"count": self.count, **slots}

    def apply(self, extended, gradients, variables):
        """One update, in cross-replica context."""
        extended.update(self.count, lambda count: count.assign_add(1), group=False)
        for variable, gradient, m, v in zip(variables, gradients, self.m, self.v, strict=True):
            arguments = (gradient, m, v, self.count, self.rate)
            extended.update(variable, self._update, arguments, group=False)

    def _update(self, variable, gradient, m, v, count, rate):
        t = tf.cast(count.read_value(), tf.float32)
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


class LazyAdam(_Optimizer):
    """Adam with beta1 = 0 on one matrix [rows, N], which computes only the rows of a batch.

    The gradient is a tf.IndexedSlices. Dense Adam with beta1 = 0 does not move a row without
    gradient and only multiplies its v by beta2; here these factors are applied when the row has a
    gradient again. For a row r with a gradient at update t, whose last one was at update t_r:

        v_r = beta2^(t - t_r) v_r + (1 - beta2) g_r^2,  t_r = t
        W_r -= rate sqrt(1 - beta2^t) g_r / (sqrt(v_r) + epsilon)

    with g_r the sum of the batch's gradients of row r. This equals dense Adam up to rounding. The
    correction must use the global t: with a count per row, an update would move a coordinate by
    `rate` at most, while dense Adam moves a row with rare gradients by up to
    rate / sqrt(1 - beta2), 32 times as far, and W needs that to reach e_hat.
    """

    def __init__(self, learning_rate, beta_2=0.999, epsilon=1e-5):
        super().__init__(learning_rate)
        self.beta_2, self.epsilon = beta_2, epsilon

    def build(self, variables):
        """Makes v [rows, N] and t_r [rows]; call it under the strategy's scope."""
        (matrix,) = variables
        self.v = state_variable(tf.zeros_like(matrix), name="v")
        rows = tf.zeros([matrix.shape[0]], tf.int64)
        self.last_update = state_variable(rows, tf.int64, "last_update")

    def state(self):
        """Name -> variable, everything a checkpoint needs."""
        return {"count": self.count, "v": self.v, "last_update": self.last_update}

    def apply(self, extended, gradients, variables):
        """One update, in cross-replica context."""
        (slices,), (matrix,) = gradients, variables
        extended.update(self.count, lambda count: count.assign_add(1), group=False)
        arguments = (slices, self.v, self.last_update, self.count, self.rate)
        extended.update(matrix, self._update, arguments, group=False)

    def _update(self, matrix, slices, v, last_update, count, rate):
        rows, place = tf.unique(slices.indices)  # rows [R], place [B]
        gradient = tf.math.unsorted_segment_sum(slices.values, place, tf.size(rows))  # [R, N]
        t = count.read_value()
        elapsed = tf.cast(t - tf.gather(last_update, rows), tf.float32)[:, None]  # [R, 1]
        second = self.beta_2**elapsed * tf.gather(v, rows) + (1 - self.beta_2) * gradient**2
        correction = tf.sqrt(1 - self.beta_2 ** tf.cast(t, tf.float32))
        change = rate.read_value() * correction * gradient / (tf.sqrt(second) + self.epsilon)
        touched = tf.fill(tf.shape(rows), t)
        write, subtract = tf.raw_ops.ResourceScatterUpdate, tf.raw_ops.ResourceScatterSub
        return tf.group(
            write(resource=last_update.handle, indices=rows, updates=touched),
            write(resource=v.handle, indices=rows, updates=second),
            subtract(resource=matrix.handle, indices=rows, updates=change),
        )


class OptimizedNetworks:
    """Networks trained by one loss, and the optimizer of each group of their variables.

    Attributes:
      networks: the networks whose spectral norms are iterated before an update.
      variables: all trained variables, in the order of the gradients `update` takes.
    """

    def __init__(self, networks, groups):
        """Makes the optimizers' slots; call it under the strategy's scope.

        Args:
          networks: Keras networks.
          groups: pairs (variables, optimizer); W, whose gradient is sparse, has its own `LazyAdam`.
        """
        self.networks = list(networks)
        self.groups = [(raw(variables), optimizer) for variables, optimizer in groups]
        self.variables = [variable for variables, _ in self.groups for variable in variables]
        for variables, optimizer in self.groups:
            optimizer.build(variables)

    def state(self):
        """Name -> variable of all optimizers: "0/count", "0/m/000", ..."""
        return {
            f"{i}/{name}": variable
            for i, (_, optimizer) in enumerate(self.groups)
            for name, variable in optimizer.state().items()
        }

    def position(self, variable):
        """The place of `variable` in `variables`."""
        return next(i for i, mine in enumerate(self.variables) if mine is variable)

    def update(self, gradients):
        """Sums `gradients` over replicas and applies them, in replica context.

        Args:
          gradients: one per variable, of this replica's share of the loss; None is zero.

        Returns:
          The norm of the summed gradients, a float32 scalar.
        """
        context = tf.distribute.get_replica_context()
        gradients = [
            tf.zeros(variable.shape, variable.dtype) if gradient is None else gradient
            for gradient, variable in zip(gradients, self.variables, strict=True)
        ]
        if context.num_replicas_in_sync > 1:  # the one reduction: a sum
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        squares = [tf.reduce_sum(tf.square(_values(gradient))) for gradient in gradients]
        norm = tf.sqrt(tf.add_n(squares))
        with tf.control_dependencies([norm]):
            context.merge_call(self._apply, args=(gradients,))
        return norm

    def _apply(self, strategy, gradients):
        start = 0
        for variables, optimizer in self.groups:
            end = start + len(variables)
            optimizer.apply(strategy.extended, gradients[start:end], variables)
            start = end


def _values(gradient):
    """The values of a gradient; for tf.IndexedSlices, one row per index, the sum of its slices."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, place = tf.unique(gradient.indices)
    return tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
