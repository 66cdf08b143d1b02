"""Reading ahead: order, errors in their place, an end when nobody reads any more."""

import threading

import pytest

from tf_talkinghead.driving.ahead import ahead


def test_items_come_in_order_and_before_they_are_asked_for():
    made, third = [], threading.Event()

    def items():
        for k in range(10):
            made.append(k)
            if k == 3:
                third.set()
            yield k

    read = ahead(items(), count=2)
    assert next(read) == 0
    assert third.wait(20)  # two wait, one is being handed over
    assert list(read) == list(range(1, 10)) and made == list(range(10))


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("damaged")

    read = ahead(items())
    assert next(read) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(read)


def test_closing_ends_an_endless_source():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    read = ahead(items(), count=1)
    next(read)
    read.close()
    assert closed.wait(20)


def test_nothing_is_nothing():
    assert list(ahead([])) == []
