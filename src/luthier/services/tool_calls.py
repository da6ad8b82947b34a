"""Reading the calls of tools out of an answer's text as it grows."""

from collections.abc import Callable
from dataclasses import dataclass

from luthier.domain.names import new_id
from luthier.modeling.tool_form import ToolForm


@dataclass(frozen=True)
class Content:
    """More of what is said beside calls."""

    text: str


@dataclass(frozen=True)
class CallBegin:
    """A call of a tool; its arguments follow.

    Args:
        index: counts the calls of the answer.
    """

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """More of the arguments of a call."""

    index: int
    text: str


Piece = Content | CallBegin | CallArguments


class ToolCallReader:
    """Reads text that `completion.grammars.tool_grammar` held to a form.

    Args:
        anywhere: calls may follow other words, behind the form's trigger; otherwise a text is calls from its
            beginning, or none at all.

    Attributes:
        calls: how many calls have begun.
    """

    def __init__(self, form: ToolForm, *, anywhere: bool) -> None:
        self._form = form
        self._trigger = form.trigger if anywhere else ""
        self._held = ""
        self._read: Callable[[list[Piece]], bool] = self._read_content
        self._arguments = _ObjectEnd()
        self._said = False
        self.calls = 0

    def push(self, text: str) -> list[Piece]:
        """What is certain once `text` has come."""
        self._held += text
        pieces: list[Piece] = []
        while self._read(pieces):
            pass
        return pieces

    def finish(self) -> list[Piece]:
        """What was held back, now that nothing follows. A call without its whole name is no call."""
        held, self._held = self._held, ""
        if self._read != self._read_content or not held or (self._trigger and held.startswith(self._trigger)):
            return []
        return [Content(held)]

    # Each of these reads on, says what it found, and returns whether another may read further.

    def _read_content(self, pieces: list[Piece]) -> bool:
        opening = self._form.opening
        at = self._held.find(self._trigger) if self._trigger else (0 if self._may_be_calls() else -1)
        if at < 0:
            self._say(pieces, len(self._held) - _held_back(self._held, self._trigger))
            return False
        if before := self._held[:at].rstrip():
            self._say(pieces, len(before))
        self._held = self._held.lstrip() if self._trigger else self._held
        if len(self._held) < len(opening):
            return False
        self._held = self._held[len(opening) :]
        self._read = self._read_name
        return True

    def _may_be_calls(self) -> bool:
        """Whether a text without a trigger has begun with a call, or may yet."""
        opening = self._form.opening
        return not self._said and (self._held.startswith(opening) or opening.startswith(self._held))

    def _say(self, pieces: list[Piece], stop: int) -> None:
        text, self._held = self._held[:stop], self._held[stop:]
        if text:
            self._said = True
            pieces.append(Content(text))

    def _read_name(self, pieces: list[Piece]) -> bool:
        name, found, rest = self._held.partition(self._form.between)
        if not found:
            return False
        pieces.append(CallBegin(self.calls, new_id("call_"), name))
        self.calls += 1
        self._held, self._arguments = rest, _ObjectEnd()
        self._read = self._read_arguments
        return True

    def _read_arguments(self, pieces: list[Piece]) -> bool:
        stop = self._arguments.find(self._held)
        text, self._held = (self._held, "") if stop is None else (self._held[:stop], self._held[stop:])
        if text:
            pieces.append(CallArguments(self.calls - 1, text))
        if stop is None:
            return False
        self._read = self._read_more
        return True

    def _read_more(self, _pieces: list[Piece]) -> bool:
        again = self._form.again
        if again is None or not self._held.startswith(again):
            return False
        self._held = self._held[len(again) :]
        self._read = self._read_name
        return True


class _ObjectEnd:
    """Finds where a JSON object ends whose text comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def find(self, text: str) -> int | None:
        """The number of characters of this piece up to the object's end, None when it goes on."""
        for at, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    return at + 1
        return None


def _held_back(text: str, trigger: str) -> int:
    """Length of the end of `text` that may belong to a call: a beginning of the trigger, and the space before it."""
    if not trigger:
        return 0
    start = next((n for n in range(min(len(text), len(trigger) - 1), 0, -1) if text.endswith(trigger[:n])), 0)
    return len(text) - len(text[: len(text) - start].rstrip())
