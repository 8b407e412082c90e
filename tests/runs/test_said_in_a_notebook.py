"""What a signal has to say is seen where there is no terminal either, as in a notebook."""

import io
import os
import signal
import sys

import pytest

from multiscale.runs.signals import Signals


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def test_a_stream_without_a_file_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
    assert sys.stderr.getvalue() == "\nSIGTERM: ending this step, then saving\n"


@pytest.mark.parametrize("stream", [None, closed()])
def test_a_stream_that_is_gone_does_not_end_what_is_to_be_saved(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", stream)
    with Signals() as signals:
        signals.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
    assert signals.received == signal.SIGTERM
