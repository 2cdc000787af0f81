"""Streams: every row once, whoever reads; resumable at any batch; in memory no more than a few windows."""

import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage
from PIL import Image
from torch.utils.data import DataLoader

from fahr_hf.data.crops import BORDER, FORMAT, load_crops
from fahr_hf.data.schema import COLUMNS
from fahr_hf.data.shards import Shards
from fahr_hf.data.streams import CropStream

# This machine may have fewer cores than a test has workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

ASTRONAUT = Image.fromarray(skimage.data.astronaut()).crop((90, 0, 350, 260))
SIDE = 16 + 2 * BORDER
FEATURES = datasets.Features(
    {
        **{name: feature for name, feature in COLUMNS.items() if name != "box"},
        "corners": datasets.List(datasets.Value("float32")),
        "row": datasets.Value("int64"),
    }
)


def encoded(number: int, side: int = SIDE, kind: str = "JPEG") -> bytes:
    """A face, turned by as many degrees as its number."""
    file = io.BytesIO()
    ASTRONAUT.resize((side, side)).rotate(number % 360).save(file, kind, quality=95)
    return file.getvalue()


def write_cache(
    folder: Path, rows: int, shard_rows: int = 20, group_rows: int = 5, photos=(), parts=("train",)
) -> Path:
    """A crop cache without rejects; `photos` replaces the encoded photos of the first rows."""
    folder.mkdir()
    photos = [*photos, *(encoded(number) for number in range(len(photos), rows))]
    table = {
        "image": [{"bytes": photo, "path": None} for photo in photos],
        "photo_id": [f"{number:05}.jpg" for number in range(rows)],
        "subject_id": [None] * rows,
        "age": [float(number % 90) for number in range(rows)],
        "sex": [None] * rows,
        "race": [None] * rows,
        "source": [folder.name] * rows,
        "part": [parts[number % len(parts)] for number in range(rows)],
        "corners": [np.arange(8.0) + number for number in range(rows)],
        "row": range(rows),
    }
    table = pa.table(table, FEATURES.arrow_schema)
    rejects = table.slice(0, 0).drop_columns(["image", "corners"]).append_column("reason", pa.array([], pa.string()))
    for number, start in enumerate(range(0, rows, shard_rows)):
        pq.write_table(table.slice(start, shard_rows), folder / f"shard-{number:05}.parquet", row_group_size=group_rows)
        pq.write_table(rejects, folder / f"rejects-{number:05}.parquet")
    recipe = {"format": FORMAT, "rows": rows, "shard_rows": shard_rows, "size": {"height": SIDE - 2 * BORDER}}
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return folder


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def as_it_is(batch):
    return batch


def read(stream: CropStream, epoch: int = 0, workers: int = 0, batch_size: int = 8, **place) -> list[list[str]]:
    """The names of an epoch's samples, batch by batch, from a real loader."""
    batches = stream.batches(epoch, batch_size=batch_size, **place)
    loader = DataLoader(batches, batch_size=None, num_workers=workers, collate_fn=as_it_is)
    return [[sample["name"] for sample in batch.samples] for batch in loader]


def flat(batches: list[list[str]]) -> list[str]:
    return list(itertools.chain(*batches))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """237 rows in 12 shards of 20 in 4 row groups, the last of which have 17 and 2."""
    return write_cache(tmp_path_factory.mktemp("caches") / "people", 237)


@pytest.fixture(scope="module")
def stream(cache):
    return CropStream([cache], window=20)


# ------------------------------------------------------------------------------------------- every row exactly once


@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (1, 3), (2, 2), (3, 1), (5, 0), (16, 0), (237, 0)])
def test_processes_and_workers_see_every_row_once_in_equally_many_batches(stream, processes, workers):
    seen = [read(stream, workers=workers, process=number, processes=processes) for number in range(processes)]
    assert sorted(flat(map(flat, seen))) == [f"people/{number:05}.jpg" for number in range(237)]
    assert {len(batches) for batches in seen} == {stream.steps(8, processes)}


@pytest.mark.parametrize(("batch_size", "processes"), [(2, 1), (7, 3), (8, 1), (64, 2), (500, 1)])
def test_no_batch_is_too_large_and_none_much_smaller_than_another(stream, batch_size, processes):
    batches = [read(stream, process=p, processes=processes, batch_size=batch_size) for p in range(processes)]
    sizes = {len(batch) for batch in itertools.chain(*batches)}
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_with_batches_of_one_no_process_gets_an_empty_one(stream):
    batches = [read(stream, process=process, processes=2, batch_size=1) for process in range(2)]
    assert sorted(len(batch) for batch in itertools.chain(*batches)) == [1] * 235 + [2]


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_order_does_not_depend_on_the_number_of_workers(stream, workers):
    assert read(stream, workers=workers) == read(stream, workers=0)


def test_spawned_workers_read_the_same(stream):
    loader = DataLoader(
        stream.batches(0, batch_size=64),
        batch_size=None,
        num_workers=1,
        collate_fn=as_it_is,
        multiprocessing_context="spawn",
    )
    assert [[sample["name"] for sample in batch.samples] for batch in loader] == read(stream, batch_size=64)


PROGRAM = """
import os, sys
from pathlib import Path
from torch.utils.data import DataLoader
from fahr_hf.data.streams import CropStream
stream = CropStream([sys.argv[1]])
place = {"process": int(os.environ["RANK"]), "processes": int(os.environ["WORLD_SIZE"])}
loader = DataLoader(stream.batches(0, batch_size=8, **place), batch_size=None, num_workers=2, collate_fn=lambda b: b)
Path(sys.argv[2], os.environ["RANK"]).write_text(" ".join(s["name"] for batch in loader for s in batch.samples))
"""


def test_two_processes_of_torchrun_read_disjoint_halves(cache, tmp_path):
    program, out = tmp_path / "program.py", tmp_path / "names"
    out.mkdir()
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", program]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, cache, out], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    first, second = ((out / rank).read_text().split() for rank in "01")
    assert set(first).isdisjoint(second)
    assert len(set(first) | set(second)) == 237
    assert abs(len(first) - len(second)) <= 1


def test_fewer_rows_than_processes_are_an_error(stream):
    with pytest.raises(ValueError, match="237 rows do not suffice for 238 processes"):
        stream.steps(8, 238)


# ------------------------------------------------------------------------------------------------------------ order


def test_epochs_and_seeds_differ_in_order_and_a_repeat_does_not(cache, stream):
    first = read(stream)
    assert read(CropStream([cache], window=20)) == first
    for other in (read(stream, epoch=1), read(CropStream([cache], window=20, seed=1))):
        assert sorted(flat(other)) == sorted(flat(first))
        assert sum(a == b for a, b in zip(flat(first), flat(other), strict=True)) < 20


def test_a_row_has_other_company_in_every_epoch(stream):
    blocks = [{int(name[-9:-4]) // 5 for name in read(stream, epoch, batch_size=16)[0]} for epoch in range(4)]
    for one, other in itertools.combinations(blocks, 2):
        assert len(one & other) <= 2 < len(one)


def test_the_rows_of_a_batch_come_from_several_shards_and_no_batch_keeps_their_order(stream):
    for batch in read(stream, batch_size=16):
        numbers = [int(name[-9:-4]) for name in batch]
        assert len({number // 20 for number in numbers}) >= 3
        assert numbers != sorted(numbers)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_resuming_at_any_batch_gives_exactly_the_rest(stream, workers):
    whole = read(stream, epoch=3, processes=2, process=1)
    for start in range(0, len(whole), 1 if workers == 0 else 6):
        assert read(stream, epoch=3, workers=workers, processes=2, process=1, start=start) == whole[start:]


def test_a_resumed_stream_reads_no_more_than_the_windows_it_needs(cache, monkeypatch):
    stream = CropStream([cache], window=20)
    blocks = []
    monkeypatch.setattr(Shards, "read", lambda self, block, read=Shards.read: blocks.append(block) or read(self, block))
    next(iter(stream.batches(0, batch_size=8, start=15)))
    assert len(blocks) <= 2 * (20 // 5 + 2)


# --------------------------------------------------------------------------------------------------------- contents


def test_a_sample_is_that_of_the_crops_in_memory(cache, stream):
    crops = load_crops(cache)
    (batch,) = stream.batches(4, batch_size=500)
    assert len(batch.samples) == len(crops)
    for sample in batch.samples:
        index = sample["index"]
        assert sample["name"] == f"people/{crops.column('photo_id')[index]}"
        assert sample["epoch"] == 4
        np.testing.assert_array_equal(sample["image"], crops.images[index])
        np.testing.assert_array_equal(sample["corners"], crops.corners[index])


def test_only_rows_of_the_part_are_read_and_the_others_keep_their_index(tmp_path):
    cache = write_cache(tmp_path / "people", 50, parts=("train", "test", "train", "validation"))
    for part, residues in (("train", {0, 2}), ("validation", {3}), (None, {0, 1, 2, 3})):
        stream = CropStream([cache], part=part)
        (batch,) = stream.batches(0, batch_size=50)
        wanted = [number for number in range(50) if number % 4 in residues]
        assert sorted(sample["index"] for sample in batch.samples) == wanted
        assert len(stream) == len(wanted)


def test_duplicates_are_left_out_as_they_are_in_memory(tmp_path):
    cache = write_cache(tmp_path / "people", 50)
    marked = {"row": [49, 3, 17], "photo_id": ["00049.jpg", "00003.jpg", "00017.jpg"], "reason": ["like another"] * 3}
    pq.write_table(pa.table(marked), cache / "duplicates.parquet")
    names = flat(read(CropStream([cache])))
    assert sorted(names) == [f"people/{photo}" for photo in load_crops(cache).column("photo_id")]
    assert len(names) == 47


def test_several_sources_are_one_stream_and_a_sample_keeps_its_index(tmp_path):
    sources = [write_cache(tmp_path / name, 30) for name in ("first", "second")]
    sources.append(write_tar(tmp_path / "third.tar", {f"{n}.jpg": encoded(n) for n in range(30)}))
    stream = CropStream(sources, window=40)
    epochs = []
    for epoch in range(2):
        samples = [s for batch in stream.batches(epoch, batch_size=8) for s in batch.samples]
        epochs.append({sample["index"]: sample["name"] for sample in samples})
    assert epochs[0] == epochs[1]
    assert sorted(epochs[0]) == list(range(90))
    assert epochs[0][31] == "second/00001.jpg"
    assert epochs[0][89] == "third.tar/29.jpg"


def test_parquet_files_of_others_need_nothing_but_photos(tmp_path):
    path = tmp_path / "train-00000-of-00001.parquet"
    photos = datasets.Dataset.from_dict({"image": [Image.open(io.BytesIO(encoded(n, kind="PNG"))) for n in range(9)]})
    photos.to_parquet(path)
    (batch,) = CropStream([path]).batches(0, batch_size=9)
    for sample in batch.samples:
        np.testing.assert_array_equal(sample["image"], np.asarray(photos[sample["index"]]["image"]))
        assert sample["corners"] is None
        assert sample["name"] == f"{path.name}/{sample['index']}"


def test_shards_without_a_single_row_to_use_are_no_hindrance(tmp_path):
    cache = write_cache(tmp_path / "people", 60, shard_rows=10)
    for number in (0, 3, 5):
        table = pq.read_table(cache / f"shard-{number:05}.parquet")
        pq.write_table(table.slice(0, 0), cache / f"shard-{number:05}.parquet")
    assert len(flat(read(CropStream([cache]), workers=2))) == 30


# ------------------------------------------------------------------------------------------------------- WebDataset


@pytest.fixture(scope="module")
def tars(tmp_path_factory):
    """300 and 7 photos; in the first some names are too long for a tar's header and so take several of them."""
    folder = tmp_path_factory.mktemp("tars")
    kinds = itertools.cycle([("jpg", "JPEG"), ("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG")])
    for tar, count in (("00000.tar", 300), ("00001.tar", 7)):
        members = {}
        for number, (extension, kind) in zip(range(count), kinds, strict=False):
            key = f"faces/{number:06}" + "-" * (120 if number % 4 == 0 else 0)
            members[f"{key}.{extension}"] = encoded(number, kind=kind)
            members[f"{key}.json"] = json.dumps({"age": number}).encode()
        write_tar(folder / tar, {"README.txt": b"Faces.", **members})
    return folder


def test_the_photos_of_tars_are_counted_and_all_read(tars):
    stream = CropStream([tars], window=50)
    assert len(stream) == 307
    seen = {}
    for batch in stream.batches(0, batch_size=20):
        seen |= {sample["name"]: sample for sample in batch.samples}
    assert len(seen) == 307
    for tar in tars.glob("*.tar"):
        with tarfile.open(tar) as file:
            for member in file:
                if member.name.endswith((".jpg", ".webp", ".png")):
                    with Image.open(file.extractfile(member)) as image:
                        sample = seen.pop(f"{tar.name}/{member.name}")
                        np.testing.assert_array_equal(sample["image"], np.asarray(image.convert("RGB")))
                        assert sample["corners"] is None
    assert not seen


def test_datasets_reads_the_same_photos_from_the_same_shards(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    tar = write_tar(tmp_path / "faces.tar", {f"{n:03}.jpg": encoded(n) for n in range(140)})
    for kind, files, column in (("parquet", sorted(cache.glob("shard-*")), "image"), ("webdataset", [tar], "jpg")):
        shards = datasets.load_dataset(
            kind, data_files=list(map(str, files)), split="train", streaming=True, cache_dir=str(tmp_path)
        )
        wanted = [np.asarray(row[column]) for row in shards]
        (batch,) = CropStream(files).batches(0, batch_size=1000)
        assert len(batch.samples) == len(wanted)
        for sample in batch.samples:
            np.testing.assert_array_equal(sample["image"], wanted[sample["index"]])


def test_a_tar_is_counted_once_unless_it_changes(tmp_path):
    tar = write_tar(tmp_path / "faces.tar", {f"{n:03}.jpg": encoded(n) for n in range(10)})
    assert len(CropStream([tmp_path])) == 10
    whole, times = tar.read_bytes(), tar.stat()
    # Without its headers it could not be counted, and still is known.
    tar.write_bytes(bytes(len(whole)))
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    stream = CropStream([tmp_path])
    assert len(stream) == 10
    with pytest.raises(OSError, match=r"faces\.tar has changed: 0 crops where 10 were"):
        read(stream)
    write_tar(tar, {f"{n:03}.jpg": encoded(n) for n in range(12)})
    assert len(CropStream([tmp_path])) == 12


def test_tars_where_nothing_can_be_written_are_counted_all_the_same(tmp_path):
    write_tar(tmp_path / "faces.tar", {"1.jpg": encoded(1), "2.jpg": encoded(2)})
    # A folder in its place: a file that can be neither read nor written, even by root.
    (tmp_path / ".faces.tar.blocks.json").mkdir()
    assert len(CropStream([tmp_path])) == 2


# --------------------------------------------------------------------------------------------------------- what breaks


def test_photos_that_cannot_be_decoded_are_left_out_and_named(tmp_path):
    rectangle = io.BytesIO()
    ASTRONAUT.resize((40, 30)).save(rectangle, "JPEG")
    broken = [b"", b"not a photo", encoded(2)[:-200], encoded(3, kind="PNG")[:300], rectangle.getvalue()]
    cache = write_cache(tmp_path / "people", 40, photos=broken)
    batches = list(
        DataLoader(CropStream([cache]).batches(0, batch_size=10), batch_size=None, num_workers=2, collate_fn=as_it_is)
    )
    assert [len(batch.samples) + len(batch.unreadable) for batch in batches] == [10] * 4
    reasons = dict(text.split(": ", 1) for batch in batches for text in batch.unreadable)
    assert sorted(reasons) == [f"people/{number:05}.jpg" for number in range(5)]
    assert reasons["people/00001.jpg"] == "no image that Pillow knows"
    assert "truncated" in reasons["people/00002.jpg"]
    assert reasons["people/00004.jpg"] == "40 x 30 pixels, but an aligned crop is square"
    assert not {sample["name"] for batch in batches for sample in batch.samples} & set(reasons)


def test_a_batch_without_a_single_photo_is_an_error_that_names_some(tmp_path):
    cache = write_cache(tmp_path / "people", 10, photos=[b"not a photo"] * 10)
    with pytest.raises(OSError, match=r"No photo of a batch of 10 can be decoded.* people/0000\d\.jpg: no image"):
        read(CropStream([cache]), batch_size=10)


def test_damaged_and_missing_shards_are_named_at_the_start(cache, tmp_path):
    tar = write_tar(tmp_path / "whole.tar", {"1.jpg": encoded(1), "2.jpg": encoded(2)})
    parquet = next(cache.glob("shard-*")).read_bytes()
    for name, content in (
        ("text.parquet", b"not Parquet"),
        ("empty.parquet", b""),
        ("half.parquet", parquet[: len(parquet) // 2]),
        ("text.tar", b"not a tar" * 1000),
        ("empty.tar", b""),
        ("half.tar", tar.read_bytes()[:1600]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OSError, match=rf"{name} cannot be read: "):
            CropStream([tmp_path / name])
    with pytest.raises(FileNotFoundError, match=r"gone\.parquet"):
        CropStream([tmp_path / "gone.parquet"])


def test_a_shard_damaged_within_is_named_when_it_is_reached(tmp_path):
    cache = write_cache(tmp_path / "people", 40)
    path = cache / "shard-00001.parquet"
    whole = bytearray(path.read_bytes())
    stream = CropStream([cache])
    whole[4 : len(whole) // 2] = bytes(len(whole) // 2 - 4)
    path.write_bytes(whole)
    with pytest.raises(OSError, match=r"shard-00001\.parquet can no longer be read"):
        read(stream)


def test_a_shard_that_changes_under_a_stream_is_named(tmp_path):
    cache = write_cache(tmp_path / "people", 40)
    stream = CropStream([cache])
    table = pq.read_table(cache / "shard-00001.parquet")
    pq.write_table(table.slice(0, 16), cache / "shard-00001.parquet", row_group_size=4)
    with pytest.raises(OSError, match=r"shard-00001\.parquet has changed: 4 crops where 5 were"):
        read(stream)


def test_sources_that_hold_no_crops_say_so(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Neither crops nor \*.tar in"):
        CropStream([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CropStream([tmp_path / "nowhere"])
    (tmp_path / "faces.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a \.parquet or a \.tar file, got .*faces\.zip"):
        CropStream([tmp_path / "faces.zip"])
    pq.write_table(pa.table({"image": [b"1"], "age": [1]}), tmp_path / "bytes.parquet")
    with pytest.raises(ValueError, match=r"bytes\.parquet has no column `image` .* image, age"):
        CropStream([tmp_path / "bytes.parquet"])
    with pytest.raises(ValueError, match="No rows of the part 'calibration'"):
        CropStream([cache], part="calibration")


def test_a_cache_that_is_not_complete_is_not_streamed(tmp_path):
    cache = write_cache(tmp_path / "people", 60)
    (cache / "shard-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 3 shards"):
        CropStream([cache])


# ----------------------------------------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_set(tmp_path):
    cache = write_cache(tmp_path / "people", 100, shard_rows=100, group_rows=50)
    peaks = []
    for copies in (4, 40):
        stream = CropStream([cache / "shard-00000.parquet"] * copies, window=50)
        tracemalloc.start()
        assert sum(len(batch.samples) for batch in stream.batches(0, batch_size=50)) == 100 * copies
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0]
