"""The answers of a batch on disk: what a kill leaves is made good."""

from pathlib import Path

import pytest

from luthier.storage.answers import AnswerLog, refusals_in


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "journal", tmp_path / "output", tmp_path / "errors"


def filled(paths: tuple[Path, Path, Path]) -> None:
    with AnswerLog(*paths) as log:
        log.add(1, b"one\n", ok=True, input_tokens=3, output_tokens=4)
        log.add(7, b"seven\n", ok=False)
        log.add(2, b"two\n", ok=True, input_tokens=1)
        log.sync()


def state(log: AnswerLog) -> tuple[set[int], int, int, int, int]:
    return log.done, log.completed, log.failed, log.input_tokens, log.output_tokens


def test_a_new_log_knows_what_is_done(paths: tuple[Path, Path, Path]) -> None:
    filled(paths)
    with AnswerLog(*paths) as log:
        assert state(log) == ({1, 2, 7}, 2, 1, 4, 4)
        log.add(3, b"three\n", ok=True)
    _, output, errors = paths
    assert output.read_bytes() == b"one\ntwo\nthree\n"
    assert errors.read_bytes() == b"seven\n"


def test_an_answer_cut_short_is_removed(paths: tuple[Path, Path, Path]) -> None:
    filled(paths)
    journal, output, _ = paths
    with output.open("ab") as file:
        file.write(b'{"half')
    with journal.open("ab") as file:
        file.write(b"\x05\x00")
    with AnswerLog(*paths) as log:
        assert state(log) == ({1, 2, 7}, 2, 1, 4, 4)
        log.add(5, b"five\n", ok=True)
    assert output.read_bytes() == b"one\ntwo\nfive\n"
    with AnswerLog(*paths) as log:
        assert log.done == {1, 2, 5, 7}


def test_every_length_of_the_journal_is_read(paths: tuple[Path, Path, Path]) -> None:
    filled(paths)
    journal, output, errors = paths
    whole = journal.read_bytes()
    for length in range(len(whole) - 1, -1, -1):
        journal.write_bytes(whole[:length])
        with AnswerLog(*paths) as log:
            n = 3 * length // len(whole)
            assert log.done == set([1, 7, 2][:n])
        assert output.read_bytes() == (b"one\n" if n else b"")
        assert errors.read_bytes() == (b"seven\n" if n >= 2 else b"")


def test_answers_that_a_power_cut_took_are_not_believed(paths: tuple[Path, Path, Path]) -> None:
    filled(paths)
    journal, output, _ = paths
    output.write_bytes(b"one\n")
    with AnswerLog(*paths) as log:
        assert log.done == {1, 7}
    with journal.open("ab") as file:
        file.write(bytes(21))
    with AnswerLog(*paths) as log:
        assert log.done == {1, 7}


def test_what_is_only_noted_is_forgotten_by_the_next_log(paths: tuple[Path, Path, Path]) -> None:
    filled(paths)
    journal, _, errors = paths
    with AnswerLog(*paths) as log:
        log.note(b"late\n")
        log.sync()
        assert (log.done, log.failed) == ({1, 2, 7}, 1)
    assert errors.read_bytes() == b"seven\nlate\n"
    assert refusals_in(journal) == 1
    with AnswerLog(*paths) as log:
        assert log.done == {1, 2, 7}
    assert errors.read_bytes() == b"seven\n"
