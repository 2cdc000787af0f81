"""Photos are read ahead of the model in threads: what overlaps, in which order, how far ahead, and how it ends."""

import io
import os
import threading
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


def test_while_the_model_works_on_a_batch_photos_of_the_next_are_read(age, file, before_the_model):
    next_batch, waited = threading.Event(), []
    photos = [Photo(file, next_batch.set if number >= 2 else lambda: None) for number in range(4)]
    before_the_model(lambda: waited.append(next_batch.wait(PATIENCE)))

    answers = age(iter(photos), batch_size=2, num_workers=1)

    assert len(next(answers)) == 1
    assert waited == [True]


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


@pytest.mark.parametrize("num_workers", [1, 3])
def test_no_more_photos_are_taken_ahead_than_two_a_thread(age, file, num_workers):
    taken = []

    def photos() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield file

    answers = age(photos(), batch_size=4, num_workers=num_workers)
    for answered in range(1, 10):
        next(answers)
        batches = -(-answered // 4)
        assert len(taken) <= 4 * batches + 2 * num_workers
    answers.close()


def test_who_stops_early_leaves_no_thread_behind(age, file):
    threads = threading.active_count()

    answers = age(iter([file] * 100), batch_size=2, num_workers=2)
    next(answers)
    assert threading.active_count() > threads
    answers.close()

    assert threading.active_count() == threads


def test_an_interrupt_ends_the_threads_without_the_photos_that_none_of_them_has_begun(age, file, before_the_model):
    threads, read, released = threading.active_count(), [], threading.Event()
    timer = threading.Timer(3, released.set)

    def read_one() -> None:
        read.append(None)
        if len(read) > 40:
            released.wait(PATIENCE)

    def interrupt() -> None:
        timer.start()
        raise KeyboardInterrupt

    before_the_model(interrupt)

    with pytest.raises(KeyboardInterrupt):
        age([Photo(file, read_one) for _ in range(100)], batch_size=40, num_workers=4)

    timer.join()
    assert threading.active_count() == threads
    # Those of the batch, and one that each thread had begun; as many again were waiting.
    assert len(read) <= 40 + 4


def test_detectors_are_opened_once_for_each_thread_at_work_and_serve_later_calls(age, file, monkeypatch):
    monkeypatch.setattr(image_processing_fahr_face, "_idle", idle := {})

    for _ in range(3):
        age([file] * 6, num_workers=2)

    (detectors,) = idle.values()
    assert 1 <= len(detectors) <= 2
