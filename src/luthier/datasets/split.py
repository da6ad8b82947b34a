"""Training and validation set from one table."""

from collections import Counter

import pandas as pd

_SEED = 42
_TRAIN_SHARE = 0.8
_MAX_VALID = 1000


def split_table(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training set (shuffled) and validation set (in the table's order): a fifth, at most 1,000 rows, for validation.

    Seeded: one table always gives the same sets, those that the preparation tool of OpenAI's old client drew. Only
    where that draw would leave a label out of training, or put one prompt on both sides, rows change sides one for
    one, as far as there are rows that can.
    """
    n_train = max(len(frame) - _MAX_VALID, int(len(frame) * _TRAIN_SHARE))
    drawn = frame.sample(n=n_train, random_state=_SEED)
    train = drawn.index.tolist()
    valid = frame.index.difference(drawn.index, sort=False).tolist()

    labels = dict(zip(frame.index, frame["completion"], strict=True))
    prompts = dict(zip(frame.index, frame["prompt"].str.strip(), strict=True))
    uses = Counter(prompts.values())
    in_train = Counter(labels[row] for row in train)
    spare = [row for row in train if uses[prompts[row]] == 1]

    def bring_into_training(row: int) -> None:
        while spare:
            other = spare.pop()
            if in_train[labels[other]] > 1:
                train[train.index(other)] = row
                valid[valid.index(row)] = other
                in_train.update([labels[row]])
                in_train.subtract([labels[other]])
                return

    for row in list(valid):
        if not in_train[labels[row]]:
            bring_into_training(row)
    trained_prompts = {prompts[row] for row in train}
    for row in list(valid):
        if prompts[row] in trained_prompts:
            bring_into_training(row)
    return frame.loc[train], frame.loc[sorted(valid)]
