"""What was looked up a moment ago: when it holds, and when not."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from luthier.errors import NotFoundError
from luthier.services import recall
from luthier.services.recall import Recall


class World:
    """What names mean now; it counts who asks, and has a clock and a number of renames that the test sets."""

    def __init__(self) -> None:
        self.meaning = {"ada": 1}
        self.asked: list[str] = []
        self.renames = 0
        self.now = 100.0

    def look_up(self, name: str) -> int:
        self.asked.append(name)
        if name not in self.meaning:
            raise NotFoundError(f"nobody knows {name}")
        return self.meaning[name]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    # Not `time.monotonic` itself: an event loop that runs beside would sleep until its own clock's time.
    monkeypatch.setattr(recall, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


@pytest.fixture
def recalled(world: World) -> Recall[int]:
    return Recall(world.look_up, lambda: world.renames)


def test_an_answer_holds_for_a_moment(world: World, recalled: Recall[int]) -> None:
    assert recalled("ada") == 1
    world.meaning["ada"] = 2
    world.now += recall.SECONDS / 2
    assert recalled("ada") == 1
    world.now += recall.SECONDS / 2
    assert recalled("ada") == 2
    assert world.asked == ["ada", "ada"]


def _rename(world: World, _: Recall[int]) -> None:
    world.renames += 1


def _forget(_: World, recalled: Recall[int]) -> None:
    recalled.forget()


@pytest.mark.parametrize("change", [_rename, _forget])
def test_what_this_process_changes_is_seen_at_once(
    world: World, recalled: Recall[int], change: Callable[[World, Recall[int]], None]
) -> None:
    recalled("ada")
    world.meaning["ada"] = 2
    change(world, recalled)
    assert recalled("ada") == 2


@pytest.mark.parametrize("change", [_rename, _forget])
def test_a_change_during_a_look_up_is_not_undone(world: World, change: Callable[[World, Recall[int]], None]) -> None:
    def look_up(name: str) -> int:
        answer = world.look_up(name)
        if name == "babbage":
            world.meaning = {"ada": 2, "babbage": 4}
            change(world, recalled)  # by another thread, meanwhile
        return answer

    recalled = Recall(look_up, lambda: world.renames)
    world.meaning["babbage"] = 3
    assert (recalled("ada"), recalled("babbage")) == (1, 3)
    assert (recalled("ada"), recalled("babbage")) == (2, 4)


def test_failures_are_not_kept(world: World, recalled: Recall[int]) -> None:
    with pytest.raises(NotFoundError):
        recalled("babbage")
    world.meaning["babbage"] = 3
    assert recalled("babbage") == 3


def test_what_no_longer_holds_takes_no_memory(world: World, recalled: Recall[int]) -> None:
    world.meaning |= {str(number): number for number in range(9)}
    for name in world.meaning:
        recalled(name)
        world.now += recall.SECONDS
    assert len(recalled._answers) == 1
