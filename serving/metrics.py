"""Counters and latency histograms of the server under TensorFlow Serving's Prometheus names.

They cannot be written with `prometheus_client`, which appends `_total` to the name of every
counter; TensorFlow Serving does not.
"""

import bisect
import itertools
import threading

DEFAULT_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# microseconds, TensorFlow Serving's
LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
QUEUEING_BUCKETS = tuple(100 * 1.2**power for power in range(52))


class Counter:
    """A counter per combination of label values."""

    kind = "counter"

    def __init__(self, name, text, labels):
        self.name, self.text, self.labels = name, text, labels
        self._values = {}
        self._lock = threading.Lock()

    def add(self, *values, amount=1):
        with self._lock:
            self._values[values] = self._values.get(values, 0) + amount

    def value(self, *values):
        return self._values.get(values, 0)

    def lines(self):
        with self._lock:
            items = sorted(self._values.items())
        return [
            f"{self.name}{_braces(zip(self.labels, values))} {count}" for values, count in items
        ]


class Histogram:
    """A histogram per combination of label values."""

    kind = "histogram"

    def __init__(self, name, text, labels, bounds):
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        self._cells = {}  # label values -> [counts per bucket, sum]
        self._lock = threading.Lock()

    def observe(self, value, *values):
        with self._lock:
            cell = self._cells.setdefault(values, [[0] * (len(self.bounds) + 1), 0.0])
            cell[0][bisect.bisect_left(self.bounds, value)] += 1
            cell[1] += value

    def lines(self):
        with self._lock:
            cells = sorted(
                (values, list(counts), total) for values, (counts, total) in self._cells.items()
            )
        lines = []
        for values, counts, total in cells:
            pairs = list(zip(self.labels, values))
            for bound, count in zip((*self.bounds, float("inf")), itertools.accumulate(counts)):
                le = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f"{self.name}_bucket{_braces([*pairs, ('le', le)])} {count}")
            lines.append(f"{self.name}_sum{_braces(pairs)} {total:g}")
            lines.append(f"{self.name}_count{_braces(pairs)} {sum(counts)}")
        return lines


class Metrics:
    """The metrics of one server."""

    def __init__(self):
        prefix = ":tensorflow:serving:"
        self.requests = Counter(
            f"{prefix}request_count", "The total number of requests.", ("model_name", "status")
        )
        self.request_latency = Histogram(
            f"{prefix}request_latency",
            "Distribution of wall time (in microseconds) for Tensorflow Serving request.",
            ("model_name", "API", "entrypoint"),
            LATENCY_BUCKETS,
        )
        self.runtime_latency = Histogram(
            f"{prefix}runtime_latency",
            "Distribution of wall time (in microseconds) for Tensorflow runtime.",
            ("model_name", "API", "runtime"),
            LATENCY_BUCKETS,
        )
        self.queueing_latency = Histogram(
            f"{prefix}batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing",
            ("thread_pool_name",),
            QUEUEING_BUCKETS,
        )
        self.batches = Counter(
            f"{prefix}batching_session:wrapped_run_count",
            "Total count of run calls on the wrapped session",
            (),
        )
        self.warmup_latency = Histogram(
            f"{prefix}model_warmup_latency",
            "Distribution of wall time (in microseconds) for warming up a model.",
            ("model_path", "status"),
            LATENCY_BUCKETS,
        )
        self.load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was requested.",
            ("model_path", "status"),
        )
        self.load_latency = Counter(
            ":tensorflow:cc:saved_model:load_latency",
            "Latency in microseconds for SavedModels that were successfully loaded.",
            ("model_path",),
        )

    def page(self):
        """The metrics page in Prometheus's text format."""
        lines = []
        for metric in vars(self).values():
            lines += [
                f"# HELP {metric.name} {metric.text}",
                f"# TYPE {metric.name} {metric.kind}",
                *metric.lines(),
            ]
        return "\n".join(lines) + "\n"


def _braces(pairs):
    escaped = (
        (name, str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in pairs
    )
    inside = ",".join(f'{name}="{value}"' for name, value in escaped)
    return f"{{{inside}}}" if inside else ""
