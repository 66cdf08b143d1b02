"""Process scaling of this machine: the upper bound for two concurrent preparation processes.

Two cores need not do twice the work of one: virtual cores may be threads of one physical core,
share caches and memory, or lower each other's clock rate. The data benchmark therefore also
measures the machine's own ratio, by plain loops of the libraries that dominate preparation: dlib's
shape predictor and FFmpeg's decoder, in one process and in two, forked as clip processes are.

    python -m tf_talkinghead.benchmark.scaling landmarks|decode VIDEO

loads, prints `ready`, then for every input line `PROCESSES SECONDS` runs that many processes
concurrently for that long and prints their total rounds per second.
"""

import multiprocessing
import sys
import threading
import time

from tf_talkinghead.data.clip_process import start_module

KERNELS = ("landmarks", "decode")


class Pair:
    """A process that runs one kernel, alone or in two concurrent forks.

    Args:
      kernel: "landmarks" or "decode", one of KERNELS.
      path: a video file.
    """

    def __init__(self, kernel: str, path):
        self._process = start_module(__name__, kernel, str(path))
        self._process.stdout.readline()

    def over_one(self, seconds: float) -> float:
        """Rate of two concurrent processes over that of one; start-up is not counted."""
        return self._rate(2, seconds) / self._rate(1, seconds)

    def close(self):
        """Ends the process."""
        self._process.communicate()

    def _rate(self, count, seconds):
        self._process.stdin.write(f"{count} {seconds}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def timed(workers) -> float:
    """Wall time in seconds of running the functions `workers` concurrently, each in a thread."""
    threads = [threading.Thread(target=worker) for worker in workers]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _landmarks(path):
    """A function that runs dlib's 68-point predictor 100 times on the first frame."""
    import dlib

    from tf_talkinghead.data import video
    from tf_talkinghead.faces import landmarks

    predictor = dlib.shape_predictor(
        str(landmarks.model_file("shape_predictor_68_face_landmarks.dat"))
    )
    frame = next(video.decode(video.probe(path)))
    side = min(frame.shape[:2])
    square = dlib.rectangle(side // 4, side // 4, 3 * side // 4, 3 * side // 4)

    def work():
        for _ in range(100):
            predictor(frame, square)

    return work


def _decode(path):
    """A function that decodes the whole clip on one thread."""
    from tf_talkinghead.data import video

    source = video.probe(path)

    def work():
        for _ in video.decode(source):
            pass

    return work


def rounds_per_second(work, count: int, seconds: float) -> float:
    """Total rounds per second of the function `work` in `count` concurrent forked processes."""
    context = multiprocessing.get_context("fork")
    together, rates = context.Barrier(count), context.Queue()

    def measure():
        work()
        together.wait()
        rounds, start = 0, time.perf_counter()
        while time.perf_counter() < start + seconds:
            work()
            rounds += 1
        rates.put(rounds / (time.perf_counter() - start))

    processes = [context.Process(target=measure) for _ in range(count)]
    for process in processes:
        process.start()
    rate = sum(rates.get() for _ in processes)
    for process in processes:
        process.join()
    return rate


def serve(kernel: str, path: str, requests, answers) -> None:
    """Main loop of a Pair's process; see the module docstring for the protocol."""
    work = {"landmarks": _landmarks, "decode": _decode}[kernel](path)
    print("ready", file=answers, flush=True)
    for line in requests:
        count, seconds = line.split()
        print(rounds_per_second(work, int(count), float(seconds)), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.stdin, sys.stdout)
