"""`fahr-hf predict PHOTOS --out FOLDER`: very many photos, by one process or by several."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fahr_hf.cli.predictions import Prediction, progress, say, watched

if TYPE_CHECKING:
    from fahr_hf.batch.shards import Shards


def predict_shards(
    prediction: Prediction,
    photos: Sequence[str],
    folder: Path,
    shard_photos: int | None,
    see: Callable[[dict[str, Any]], None],
) -> None:
    """Write the shards that are missing, and say what became of the photos.

    Args:
        prediction: What is asked.
        photos: As for `find_photos`.
        folder: Of the shards.
        shard_photos: Photos a shard; None for as many as usual.
        see: Is shown every record.

    Raises:
        ValueError: as `fahr_hf.batch.shards.begin`; or no photo could be read.
        BlockingIOError: another run writes into the folder.
    """
    from fahr_hf.batch.processes import processes
    from fahr_hf.batch.shards import SHARD_PHOTOS, Shards, begin, only_run

    with processes() as team, ExitStack() as alone:
        pipeline = prediction.open(team.device)
        is_first = team.index == 0

        def prepare() -> list[int]:
            alone.enter_context(only_run(folder))
            begin(folder, photos, prediction.made_by, shard_photos or SHARD_PHOTOS)
            shards = Shards(folder)
            todo = shards.missing()
            if len(todo) < len(shards):
                say(f"{len(shards) - len(todo)} of {len(shards)} shards are in {folder} already.")
            say(prediction.notice)
            return todo

        # All have to deal out the same shards, and none may be at work before they are dealt.
        mine = team.first(prepare)[team.index :: team.count]
        shards = Shards(folder)
        name = f"process 1 of {team.count}" if team.count > 1 else None
        with progress(sum(map(shards.size, mine)), hidden=not is_first, name=name) as bar:
            try:
                for number, names in shards.names(mine):
                    shards.write(number, watched(prediction.records(pipeline, names), bar, see))
            except KeyboardInterrupt:
                if is_first:
                    bar.close()
                    done = len(shards) - len(shards.missing())
                    say(f"{done} of {len(shards)} shards are in {folder}. The same command goes on from there.")
                raise
        team.wait()
        if is_first:
            _conclude(shards)


def _conclude(shards: "Shards") -> None:
    counts, bad = shards.count()
    if counts.unreadable == counts.photos:
        raise ValueError(f"None of the {counts.photos} photos could be read; the column error of {bad} says why.")
    where = f" The first unreadable one is in {bad}." if bad else ""
    say(f"{shards.folder}: {counts}.{where}")
