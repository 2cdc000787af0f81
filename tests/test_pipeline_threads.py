"""Photos are read in threads: when, in which order, how far ahead of the model, and how it ends."""

import io
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

import fahr_hf
from fahr_hf import FaceAgePipeline, FahrFaceConfig, FahrFaceForAgeEstimation, FahrFaceImageProcessor
from fahr_hf.models import image_processing_fahr_face

PORTRAIT = np.ascontiguousarray(astronaut()[:256, 96:352])
PATIENCE = 60
"""Seconds after which something that never happens has not happened."""


class Photo(io.BytesIO):
    """An open file that tells when it is read."""

    def __init__(self, content: bytes, tell: Callable[[], None]):
        super().__init__(content)
        self.tell = tell

    def read(self, *size: int | None) -> bytes:
        self.tell()
        return super().read(*size)


def counted(file: bytes, taken: list[int]) -> Iterator[bytes]:
    """The same photo many times, noting in `taken` how often."""
    for number in range(1000):
        taken.append(number)
        yield file


@pytest.fixture(scope="module")
def file() -> bytes:
    content = io.BytesIO()
    Image.fromarray(PORTRAIT).save(content, "JPEG")
    return content.getvalue()


@pytest.fixture(scope="module")
def age() -> FaceAgePipeline:
    torch.manual_seed(0)
    model = FahrFaceForAgeEstimation(FahrFaceConfig.from_size("tiny", num_hidden_layers=1))
    return fahr_hf.pipeline("face-age", model, image_processor=FahrFaceImageProcessor())


@pytest.fixture
def before_the_model(age) -> Iterator[Callable]:
    """Run a function whenever the model is about to work on a batch."""
    handles = []
    yield lambda run: handles.append(age.model.register_forward_pre_hook(lambda *_: run()))
    for handle in handles:
        handle.remove()


def test_on_a_cpu_photos_are_read_for_four_batches_and_none_while_the_model_works(age, file, before_the_model):
    read: list[None] = []
    seen = []

    def note() -> None:
        before = len(read)
        time.sleep(0.2)
        seen.append((before, len(read)))

    before_the_model(note)

    age([Photo(file, lambda: read.append(None)) for _ in range(20)], batch_size=2, num_workers=2)

    assert seen == [(8, 8)] * 4 + [(16, 16)] * 4 + [(20, 20)] * 2


# What calls it here is no model: it is for accelerators, and this has to hold on a machine without one.
def test_beside_an_accelerator_photos_of_the_next_batch_are_read_while_the_model_works(age, file):
    next_batch = threading.Event()
    photos = [Photo(file, next_batch.set if number >= 2 else lambda: None) for number in range(4)]

    prepared = age._prepared_meanwhile(iter(photos), workers=1, ahead=3)

    assert len(next(prepared)["faces"]) == 1
    assert next_batch.wait(PATIENCE)
    prepared.close()


def test_by_default_there_is_a_thread_for_each_core_that_the_process_may_use_up_to_16(age, file):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted, threads = min(cores, 16), set()
    # All threads have to be there before one of them goes on.
    meeting = threading.Barrier(wanted)

    def meet() -> None:
        threads.add(threading.current_thread())
        meeting.wait(PATIENCE)

    answers = age([Photo(file, meet) for _ in range(2 * wanted)])

    assert not [face for faces in answers for face in faces if "error" in face]
    assert len(threads) == wanted


def test_the_model_and_one_photo_alone_stay_in_the_callers_own_thread(age, file, before_the_model):
    threads: list[threading.Thread] = []

    def note() -> None:
        threads.append(threading.current_thread())

    before_the_model(note)

    age(Photo(file, note))

    assert threads == [threading.current_thread()] * 2


def test_answers_come_in_the_order_of_the_photos_and_errors_stand_in_their_place(age, file):
    slow = Image.fromarray(PORTRAIT).resize((2048, 2048))
    empty = np.full((120, 160, 3), 200, np.uint8)
    photos = [slow, file, b"no photo", empty, None, slow, file[: len(file) // 2], file]

    answers = age(photos, batch_size=3, num_workers=4)

    (no_photo,), (nothing,), (damaged,) = (answers[place] for place in (2, 4, 6))
    assert "not an image" in no_photo["error"]
    assert "NoneType" in nothing["error"]
    assert "damaged" in damaged["error"]
    assert answers[3] == []
    expected = [age(photo)[0]["box"] for photo in (slow, file, slow, file)]
    assert [answers[place][0]["box"] for place in (0, 1, 5, 7)] == expected


def test_on_a_cpu_no_more_photos_are_taken_than_those_of_four_batches(age, file):
    taken = []

    answers = age(counted(file, taken), batch_size=2, num_workers=3)
    for answered in range(1, 20):
        next(answers)
        assert len(taken) <= 8 * -(-answered // 8)
    answers.close()


def test_beside_an_accelerator_no_more_photos_are_taken_ahead_than_asked_for(age, file):
    taken: list[int] = []

    prepared = age._prepared_meanwhile(counted(file, taken), workers=2, ahead=5)
    for used in range(1, 10):
        next(prepared)
        assert len(taken) <= used + 5
    prepared.close()


def test_who_stops_early_leaves_no_thread_behind(age, file):
    threads = threading.active_count()

    answers = age(iter([file] * 100), batch_size=2, num_workers=2)
    next(answers)
    assert threading.active_count() > threads
    answers.close()

    assert threading.active_count() == threads


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="the system has no signals for one thread")
def test_an_interrupt_ends_the_threads_without_the_photos_that_none_of_them_has_begun(age, file):
    threads, read, released = threading.active_count(), itertools.count(1), threading.Event()
    timer = threading.Timer(3, released.set)

    def read_one() -> None:
        number = next(read)
        if number == 10:
            timer.start()
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        if number >= 10:
            released.wait(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        age([Photo(file, read_one) for _ in range(100)], batch_size=40, num_workers=4)

    timer.join()
    assert threading.active_count() == threads
    # Each thread was at one from the tenth on, and none took another.
    assert next(read) - 1 <= 9 + 4


def test_an_interrupt_while_the_model_works_leaves_no_thread_behind(age, file, before_the_model):
    threads = threading.active_count()

    def interrupt() -> None:
        raise KeyboardInterrupt

    before_the_model(interrupt)

    with pytest.raises(KeyboardInterrupt):
        age([file] * 12, batch_size=2, num_workers=2)

    assert threading.active_count() == threads


def test_beside_an_accelerator_who_stops_early_does_not_wait_for_photos_that_no_thread_has_begun(age, file):
    threads, read, released = threading.active_count(), itertools.count(1), threading.Event()

    def read_one() -> None:
        if next(read) > 1:
            released.wait(PATIENCE)

    prepared = age._prepared_meanwhile((Photo(file, read_one) for _ in range(100)), workers=2, ahead=40)
    next(prepared)
    timer = threading.Timer(1, released.set)
    timer.start()
    prepared.close()

    timer.join()
    assert threading.active_count() == threads
    assert next(read) - 1 <= 1 + 2


def test_detectors_are_opened_once_for_each_thread_at_work_and_serve_later_calls(age, file, monkeypatch):
    monkeypatch.setattr(image_processing_fahr_face, "_idle", idle := {})

    for _ in range(3):
        age([file] * 6, num_workers=2)

    (detectors,) = idle.values()
    assert 1 <= len(detectors) <= 2
