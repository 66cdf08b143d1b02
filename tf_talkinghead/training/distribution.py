"""Distribution of a step: one device, all GPUs, logical CPU replicas, or TF_CONFIG's workers.

strategy = make_strategy()            # before any other call of TensorFlow
with strategy.scope(): build networks
for batch in distribute(strategy, dataset): step(batch)
"""

import contextlib
import os

import tensorflow as tf

from tf_talkinghead.errors import InputError


def make_strategy(logical_replicas=0):
    """The tf.distribute.Strategy for this machine, by the first case that applies.

    - `TF_CONFIG` is set: MultiWorkerMirroredStrategy (make it at program start, before other calls
      of TensorFlow).
    - `logical_replicas` > 1: MirroredStrategy over that many logical CPUs.
    - Several GPUs: MirroredStrategy over all of them.
    - Otherwise TensorFlow's default strategy, which has no cost in a step.

    Raises:
      InputError: `logical_replicas` together with `TF_CONFIG`, or in a process where TensorFlow
        already runs with fewer logical CPUs.
    """
    if os.environ.get("TF_CONFIG"):
        if logical_replicas > 1:
            raise InputError(
                f"--logical_replicas={logical_replicas} and TF_CONFIG are both set; give one"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if logical_replicas > 1:
        # Within one process a plain sum gives the same result as the default, a ring of
        # collectives, and needs fewer threads.
        return tf.distribute.MirroredStrategy(
            _logical_cpus(logical_replicas), tf.distribute.ReductionToOneDevice()
        )
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _logical_cpus(count):
    (cpu, *_) = tf.config.list_physical_devices("CPU")
    # If TensorFlow is already initialised, its logical CPUs are used as they are.
    with contextlib.suppress(RuntimeError, ValueError):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    names = [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(names) < count:
        raise InputError(
            f"--logical_replicas={count}: TensorFlow already runs with {len(names)} logical CPUs; "
            "start a new process"
        )
    return names[:count]


def workers(strategy):
    """(number of worker processes, this one's index)."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 1, 0
    spec = resolver.cluster_spec()
    names = [
        (kind, i)
        for kind in ("chief", "worker")
        if kind in spec.jobs
        for i in range(spec.num_tasks(kind))
    ]
    return len(names), names.index((resolver.task_type, resolver.task_id))


def is_chief(strategy):
    """Whether this process writes checkpoints and summaries."""
    return workers(strategy)[1] == 0


def make_agreement(strategy):
    """A function that tells all workers whether one of them voted True; None for one worker.

    It takes this worker's vote, a bool, and returns a bool scalar tensor. All workers must call it
    equally often, at the same places between their steps, since it is a reduction among them.
    """
    if workers(strategy)[0] == 1:
        return None

    @tf.function
    def votes(mine):
        return (
            strategy.reduce(
                tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, (mine,)), axis=None
            )
            > 0
        )

    return lambda mine: votes(tf.constant(float(mine)))


def check_batch(strategy, batch_size, micro_batches=1):
    """Number of a global batch's episodes for one replica; InputError if it is not divisible."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * micro_batches):
        raise InputError(
            f"--batch_size={batch_size} does not divide by {replicas} replicas x {micro_batches} "
            f"micro-batches; give a multiple of {replicas * micro_batches}"
        )
    return batch_size // replicas


def distribute(strategy, dataset):
    """An iterable of batches for `strategy.run`, made from a dataset of this worker's batches.

    Each of this worker's replicas gets an equal, consecutive part: replica r of R sees rows
    [r B/R, (r + 1) B/R) of the worker's batch.
    """
    count, _ = workers(strategy)
    here = strategy.num_replicas_in_sync // count
    if strategy.num_replicas_in_sync == 1:
        return dataset
    if here > 1:
        dataset = dataset.flat_map(lambda batch: _parts(batch, here))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    dataset = dataset.with_options(options)
    return strategy.distribute_datasets_from_function(lambda _: dataset)


def _parts(batch, count):
    """The batch's `count` consecutive parts, as a dataset."""
    split = {}
    for name, value in batch.items():
        shape = tf.concat([[count, tf.shape(value)[0] // count], tf.shape(value)[1:]], axis=0)
        part = tf.reshape(value, shape)
        split[name] = tf.ensure_shape(part, [count, None, *value.shape[1:]])
    return tf.data.Dataset.from_tensor_slices(split)
