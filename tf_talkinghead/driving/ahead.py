"""Reading ahead: runs an iterator in a thread of its own, so that two stages overlap."""

import queue
import threading
from collections.abc import Iterable, Iterator


def ahead(items: Iterable, count: int = 4) -> Iterator:
    """The items of an iterable, in order, with up to `count` made before they are asked for.

    An exception of the iterable is raised where its item would be. Closing the iterator ends the
    thread after the current item. It pays for work that releases the interpreter's lock, such as
    decoding a video.
    """
    ready, stopped = queue.Queue(count), threading.Event()
    worker = threading.Thread(target=_fill, args=(items, ready, stopped), daemon=True)
    worker.start()
    try:
        while True:
            kind, value = ready.get()
            if kind is _ITEM:
                yield value
            elif kind is _ERROR:
                raise value
            else:
                return
    finally:
        stopped.set()


_ITEM, _ERROR, _END = "item", "error", "end"


def _fill(items, ready, stopped):
    def put(kind, value=None):
        while not stopped.is_set():
            try:
                ready.put((kind, value), timeout=0.2)
                return
            except queue.Full:
                continue

    try:
        for item in items:
            put(_ITEM, item)
            if stopped.is_set():
                return
    except BaseException as error:
        put(_ERROR, error)
    put(_END)
