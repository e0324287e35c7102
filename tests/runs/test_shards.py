"""Parts are all of it, each thing once; and only all parts of one run are joined."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.runs.shards import all_parts, check_shard, shard_of, shard_settings, work_of
from bagnet.runs.store import FINISHED, claim


@given(st.integers(0, 3000), st.integers(1, 40), st.sampled_from([1, 64]))
def test_parts_are_neighbours_and_together_all(total: int, count: int, block: int) -> None:
    parts = [shard_of(total, (number, count), block) for number in range(1, count + 1)]
    assert [row for part in parts for row in part] == list(range(total))
    assert max(map(len, parts)) <= total / count + block
    if total >= block * count:
        assert all(part.start % block == 0 for part in parts if part)


def test_literals() -> None:
    assert [shard_of(1000, (number, 3)) for number in (1, 2, 3)] == [range(320), range(320, 640), range(640, 1000)]
    assert [shard_of(5, (number, 2)) for number in (1, 2)] == [range(2), range(2, 5)]
    for wrong in ((0, 2), (3, 2), (1, 0)):
        with pytest.raises(ValueError, match=f"there is no part {wrong[0]} of {wrong[1]}"):
            check_shard(wrong)


def part(folder: Path, number: int, count: int = 2, work: str = "sum", finished: bool = True, **settings: object) -> Path:
    about = {**settings, **shard_settings(work, (number, count), ["a", "b"])}
    with claim(folder / f"{number} of {count} {work}", about, overwrite=True) as store:
        store.begin()
        if finished:
            store.keep(FINISHED)
        return store.folder


def test_only_all_parts_of_one_run_are_joined(tmp_path: Path) -> None:
    first, second = part(tmp_path, 1), part(tmp_path, 2)
    assert [each.folder for each in all_parts([second, first], "sum")] == [first, second]
    for folders, there in (([second], "2/2"), ([first, first], "1/2, 1/2"), ([first, second, first], "1/2, 2/2, 1/2")):
        with pytest.raises(ValueError, match=rf"there are the parts {there}: to be merged there must be 1/2 to 2/2, each once"):
            all_parts(folders, "sum")
    with pytest.raises(ValueError, match=r"1 of 3 sum: is of another run than .*1 of 2 sum, with depth None instead of 3"):
        all_parts([first, part(tmp_path, 1, 3, depth=3)], "sum")
    assert len(all_parts([first, part(tmp_path, 2, place="here")], "sum", free={"place"})) == 2
    with pytest.raises(ValueError, match="2 of 2 sum: holds a part that is not finished: give its command again"):
        all_parts([first, part(tmp_path, 2, finished=False)], "sum")
    with pytest.raises(ValueError, match="1 of 1 product: holds a part of product, not of sum"):
        all_parts([part(tmp_path, 1, 1, "product")], "sum")
    with pytest.raises(ValueError, match="nowhere: holds no part of anything"):
        work_of(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="name the folders"):
        all_parts([], "sum")
