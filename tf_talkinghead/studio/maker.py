"""Making and deleting avatars, in a process of its own that holds TensorFlow.

    with Maker() as maker:
        maker.warm()                                      # imports beforehand, returns at once
        maker.make("guided", "ann", paths, "avatars", consent)
        maker.delete("avatars", "ann")

So the studio's own process needs no TensorFlow, and a file that crashes a decoder ends only this
process.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from concurrent.futures.process import BrokenProcessPool

from tf_talkinghead.errors import InputError


class Maker:
    """One process that makes and deletes avatars, started when first needed."""

    def __init__(self):
        self._lock, self._pool = threading.Lock(), None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def warm(self) -> None:
        """Starts the process and its imports, without waiting for them."""
        self._process().submit(_imported)

    def make(self, weights: str, person: str, images, models: str, consent: dict | None) -> dict:
        """Makes an avatar by feed-forward (`export.workflow.make_person`).

        Returns:
          For the page: version, number of images, seconds.

        Raises:
          InputError: the images cannot be used.
        """
        return self._run(_make, weights, person, list(map(str, images)), str(models), consent)

    def delete(self, models: str, person: str) -> list[str]:
        """`export.workflow.delete_person`: what was removed, in words."""
        return self._run(_delete, str(models), person)

    def close(self) -> None:
        """Ends the process after its current work."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, work, *arguments):
        try:
            return self._process().submit(work, *arguments).result()
        except BrokenProcessPool as error:
            with self._lock:
                self._pool = None
            raise InputError(
                "the process that makes avatars ended: these files may be damaged, or memory ran "
                "out; try again, with others"
            ) from error

    def _process(self):
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), _begin
                )
            return self._pool


def _begin():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the studio ends this process itself
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's C++ code writes to this descriptor and no setting stops it; errors do not need
    # it, since they are raised in the studio's own process.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _imported():
    from tf_talkinghead.export import workflow

    return workflow.__name__


def _make(weights, person, images, models, consent):
    from tf_talkinghead.export.workflow import make_person

    made = make_person(
        weights,
        person,
        images,
        models,
        mode="feed_forward",
        keep_versions=2,
        progress=False,
        consent=consent,
    )
    facts = made.avatar.facts
    return {"version": int(made.version.name), "images": facts.images, "seconds": facts.seconds}


def _delete(models, person):
    from tf_talkinghead.export.workflow import delete_person

    return delete_person(models, person)
