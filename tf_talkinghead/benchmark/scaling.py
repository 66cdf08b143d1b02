"""What two processes at once make of this machine: the bar for two processes that prepare data.

Two cores need not do twice the work of one: virtual cores may be two threads of one real core, share its
caches and memory, or slow each other's clock. So the benchmark of data preparation measures the machine's own
ratio beside its own: plain loops of the libraries that the time goes to, dlib's shape predictor and FFmpeg's
decoder, in one process and in two that have nothing to do with each other.

    python -m tf_talkinghead.benchmark.scaling landmarks|decode VIDEO

loads, says `ready`, and for every line with a number of seconds works that long and prints its rounds a second.
"""

import os
import pathlib
import subprocess
import sys
import threading
import time

KERNELS = ("landmarks", "decode")


class Pair:
    """Two processes that do the same and know nothing of each other."""

    def __init__(self, kernel: str, path):
        root = pathlib.Path(__file__).resolve().parents[2]
        paths = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-m", __name__, kernel, str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self._children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
        for child in self._children:
            child.stdout.readline()

    def over_one(self, seconds: float) -> float:
        """Rounds a second of both at once over those of one alone; starting and loading do not count."""
        return self._rate(2, seconds) / self._rate(1, seconds)

    def close(self):
        """End both."""
        for child in self._children:
            child.communicate()

    def _rate(self, count, seconds):
        for child in self._children[:count]:
            child.stdin.write(f"{seconds}\n")
            child.stdin.flush()
        return sum(float(child.stdout.readline()) for child in self._children[:count])


def timed(workers) -> float:
    """Seconds until all of the functions, started at once in threads of their own, are through."""
    threads = [threading.Thread(target=worker) for worker in workers]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _landmarks(path):
    """dlib's 68 points of the first frame in a fixed square, 100 times."""
    import dlib

    from tf_talkinghead.data import landmarks, video

    predictor = dlib.shape_predictor(str(landmarks.model_file("shape_predictor_68_face_landmarks.dat")))
    frame = next(video.decode(video.probe(path)))
    side = min(frame.shape[:2])
    square = dlib.rectangle(side // 4, side // 4, 3 * side // 4, 3 * side // 4)

    def work():
        for _ in range(100):
            predictor(frame, square)

    return work


def _decode(path):
    """The whole clip, on one thread."""
    from tf_talkinghead.data import video

    source = video.probe(path)

    def work():
        for _ in video.decode(source):
            pass

    return work


def serve(kernel: str, path: str, requests, answers) -> None:
    """One process of a Pair."""
    work = {"landmarks": _landmarks, "decode": _decode}[kernel](path)
    work()
    print("ready", file=answers, flush=True)
    for line in requests:
        rounds, start = 0, time.perf_counter()
        while time.perf_counter() < start + float(line):
            work()
            rounds += 1
        print(rounds / (time.perf_counter() - start), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.stdin, sys.stdout)
