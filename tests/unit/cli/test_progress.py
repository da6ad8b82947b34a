"""Progress where there is no window: lines, the first after a while, with the rate of this run alone."""

import pytest

from luthier.cli import progress as module


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_lines_say_rows_rate_and_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with module.progress() as report:
        report(1000, 4000)  # of an earlier run
        clock.now += 5
        report(1100, 4000)
        assert capsys.readouterr().err == ""  # too soon
        clock.now += 5
        report(1200, 4000)
        assert capsys.readouterr().err == "1,200 of 4,000 rows, 20 rows/s, 2 min 20 s left\n"
        clock.now += 5
        report(1300, 4000)
        assert capsys.readouterr().err == ""
        clock.now += 130
        report(4000, 4000)
    assert capsys.readouterr().err == ""  # the result speaks for itself
