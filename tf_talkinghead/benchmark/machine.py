"""Machine description for benchmark results: name, matrix-product rate and peak memory.

Other load slows a benchmark and the machine's matrix-product rate alike, so both are measured in
the same run. `describe()` is added to every benchmark's result; `median_seconds` times a call.
"""

import ctypes
import os
import platform
import time
import typing

import tensorflow as tf

MATMUL_SIZES = (1024, 2048, 4096)


def describe():
    """Describes the machine that a benchmark runs on.

    Returns:
      dict: `machine` and `device` (texts), `cores`, `matmul_gflops` (float32) and
        `matmul_bfloat16_gflops`: the best of products of 1024, 2048 and 4096 cubed.
    """
    return {
        "machine": processor_name(),
        "device": device_name(),
        "cores": float(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "matmul_gflops": matmul_gflops(tf.float32),
        "matmul_bfloat16_gflops": matmul_gflops(tf.bfloat16),
    }


def processor_name():
    """Name of the processor, as the operating system reports it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def device_name():
    """Name of the accelerator that TensorFlow uses, or `cpu`."""
    accelerators = tf.config.list_physical_devices("GPU")
    if not accelerators:
        return "cpu"
    return tf.config.experimental.get_device_details(accelerators[0]).get("device_name", "gpu")


def matmul_gflops(dtype):
    """Highest rate of square matrix products in `dtype`, GFLOP per second."""
    best = 0.0
    for size in MATMUL_SIZES:
        a, b = (tf.cast(tf.random.normal([size, size]), dtype) for _ in range(2))
        product = tf.function(lambda a=a, b=b: tf.matmul(a, b))
        repeats = max(1, 2048 // size) ** 2  # short products are repeated for a measurable time
        seconds = (
            median_seconds(lambda p=product, n=repeats: [p() for _ in range(n)][-1], repeats=3)
            / repeats
        )
        best = max(best, 2 * size**3 / seconds / 1e9)
    return best


def median_seconds(call, repeats=5, warm_up=1):
    """Median wall time of `call()` in seconds, until its result (a nest of tensors) is ready."""
    times = []
    for number in range(warm_up + repeats):
        start = time.perf_counter()
        for tensor in tf.nest.flatten(call()):
            if hasattr(tensor, "device") and "GPU" in tensor.device:
                tf.test.experimental.sync_devices()
        if number >= warm_up:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


class PeakMemory:
    """Peak memory during a block: `with PeakMemory() as peak: ...`, then `peak.megabytes`.

    `peak.extra_megabytes` counts from the block's start. On a GPU both are TensorFlow's own figures
    of the device, else the process's resident memory; None where the system does not tell. Blocks
    may nest.
    """

    megabytes = None
    extra_megabytes = None
    # Starting a block resets the system's peak, so enclosing blocks must record theirs first.
    _open: typing.ClassVar[list] = []

    def __enter__(self):
        self._highest = 0.0
        for block in PeakMemory._open:
            block._highest = max(block._highest, _peak_megabytes() or 0.0)
        PeakMemory._open.append(self)
        self._before = _start_peak()
        return self

    def __exit__(self, *exception):
        PeakMemory._open.remove(self)
        peak = _peak_megabytes()
        if peak is not None and self._before is not None:
            self.megabytes = max(peak, self._highest)
            self.extra_megabytes = self.megabytes - self._before


def _peak_megabytes():
    """Peak memory since `_start_peak` in MB, or None where the system does not report it."""
    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6
    return _status_megabytes("VmHWM")


def _start_peak():
    """Resets the peak; returns the memory in use now in MB, or None."""
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
        return tf.config.experimental.get_memory_info("GPU:0")["current"] / 1e6
    try:
        # Return freed memory to the system, so that its reuse is counted.
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except (OSError, AttributeError):
        return None  # not Linux with glibc
    return _status_megabytes("VmRSS")


def _status_megabytes(field):
    """`field` of /proc/self/status in MB, or None where there is none."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return None
