"""Examples longer than a model takes: told once for a whole file, by the lines that its owner has to mend."""

_MAX_SHOWN = 5


class TooLong:
    """The lines of one file that have more tokens than a model takes.

    Args:
        limit: most tokens of an example, prompt and completion together.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lines: dict[int, int] = {}  # number → tokens of its longest sequence

    @property
    def enough(self) -> bool:
        """Whether `message` would not change with more lines."""
        return len(self._lines) > _MAX_SHOWN

    def look(self, line: int, tokens: int) -> None:
        """Take note of one sequence of a line."""
        if tokens > self.limit:
            self._lines[line] = max(tokens, self._lines.get(line, 0))

    def message(self, name: str) -> str | None:
        """What is wrong with the file and what to do, None when nothing is.

        Args:
            name: the file's, as its owner knows it.
        """
        if not self._lines:
            return None
        shown = [f"line {line} ({tokens:,} tokens)" for line, tokens in list(self._lines.items())[:_MAX_SHOWN]]
        others = " and others" if self.enough else ""
        return (
            f"{name} has examples longer than the {self.limit:,} tokens that the model takes: "
            f"{', '.join(shown)}{others}. Shorten or remove them (`luthier prepare` offers to remove "
            "them), then create the job with the new file."
        )
