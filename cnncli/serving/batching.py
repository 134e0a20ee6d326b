"""Images of concurrent requests, classified together.

A request of the engine has a fixed number of images, and takes as long if most of them are padding. So while others are
being classified or decoded, images wait a fraction of that time for more. A result does not depend on its neighbors
(`engines/engine.py`). One or two images are classified one by one, as `cnncli predict` does with a single image.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from cnncli.images.decode import ImageSource, PixelSpec, decode
from cnncli.inference.predictor import Answer, Predictor
from cnncli.runtime.threads import workers

GATHER = 0.3
"""Time for which images wait for others, as a fraction of that for classifying a batch."""
MOST_GATHER_S = 0.1
MOST_SINGLE = 2
"""Maximum number of images that are classified one by one."""

Waiting = tuple[NDArray[np.uint8], "Future[Answer]"]


class QueueFullError(Exception):
    """There are too many images that have no answer yet."""


class BatchingPredictor:
    """Threads that decode images and classify them in batches.

    Args:
        predictor: The classifier of a run.
        pixels: How images are decoded, and how large they may be.
        capacity: Maximum number of images without an answer.
        on_batch: Called with the number of images of each batch.

    Attributes:
        single: The classifier for one image at a time, on all cores. It is set once it is loaded.
        n_waiting: Number of images without an answer.
    """

    def __init__(
        self, predictor: Predictor, pixels: PixelSpec, capacity: int, on_batch: Callable[[int], None] = lambda _: None
    ) -> None:
        self.predictor, self.pixels, self.capacity, self._on_batch = predictor, pixels, capacity, on_batch
        self._counting, self._gathering = threading.Lock(), threading.Lock()
        self.single: Predictor | None = None
        self.n_waiting = self._n_decoding = self._n_running = 0
        self._batch_s = 0.0
        self._decoded: SimpleQueue[Waiting | None] = SimpleQueue()
        self._decoders = ThreadPoolExecutor(workers(), "decode")
        streams = max(engine.streams for engine in (*predictor.trunks, predictor.tail))
        self._classifiers = [threading.Thread(target=self._classify, daemon=True) for _ in range(streams)]
        for thread in self._classifiers:
            thread.start()

    def submit(self, images: Sequence[tuple[str, ImageSource]]) -> list[Future[Answer]]:
        """Return futures of the answers for named images; that of an unusable image raises ImageError.

        Raises:
            QueueFullError: Nothing is submitted, because too many images have no answer yet.
        """
        with self._counting:
            if self.n_waiting + len(images) > self.capacity:
                raise QueueFullError
            self.n_waiting += len(images)
            self._n_decoding += len(images)
        futures: list[Future[Answer]] = [Future() for _ in images]
        for (name, source), future in zip(images, futures, strict=True):
            future.add_done_callback(self._count_answer)
            self._decoders.submit(self._decode, name, source, future)
        return futures

    def close(self) -> None:
        """Answer the images that are decoded, and end the threads."""
        self._decoders.shutdown(cancel_futures=True)
        for _ in self._classifiers:
            self._decoded.put(None)
        for thread in self._classifiers:
            thread.join()

    def _count_answer(self, _: Future[Answer]) -> None:
        with self._counting:
            self.n_waiting -= 1

    def _decode(self, name: str, source: ImageSource, future: Future[Answer]) -> None:
        try:
            if future.set_running_or_notify_cancel():  # false if it was cancelled
                self._decoded.put((decode(source, self.pixels, name=name), future))
        except Exception as error:
            future.set_exception(error)
        finally:
            with self._counting:
                self._n_decoding -= 1

    def _classify(self) -> None:
        """Answer batches until `close`."""
        is_open = True
        while is_open:
            with self._gathering:  # two threads would share the images between them, and both pad their batches
                found = self._gather()
            batch = [one for one in found if one is not None]
            is_open = len(batch) == len(found)
            if batch:
                self._answer(batch)

    def _gather(self) -> list[Waiting | None]:
        """Wait for an image, and gather those that follow soon; the last item is None after `close`."""
        found = [self._decoded.get()]
        deadline = monotonic() + min(GATHER * self._batch_s, MOST_GATHER_S)
        while found[-1] is not None and len(found) < self.predictor.tail.batch:
            remaining = deadline - monotonic() if self._n_decoding or self._n_running else 0
            try:
                found.append(self._decoded.get(timeout=remaining) if remaining > 0 else self._decoded.get_nowait())
            except Empty:
                break
        return found

    def _answer(self, batch: Sequence[Waiting]) -> None:
        self._on_batch(len(batch))
        try:
            with self._running():
                answers = self._answers(np.stack([pixels for pixels, _ in batch]))
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)

    def _answers(self, pixels: NDArray[np.uint8]) -> list[Answer]:
        if self.single is not None and len(pixels) <= MOST_SINGLE:
            return [answer for row in pixels for answer in self.single.answers(row[None])]
        started = monotonic()
        answers = self.predictor.answers(pixels)
        self._batch_s = monotonic() - started
        return answers

    @contextmanager
    def _running(self) -> Iterator[None]:
        with self._counting:
            self._n_running += 1
        try:
            yield
        finally:
            with self._counting:
                self._n_running -= 1
