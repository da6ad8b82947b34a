"""compiled_results.csv."""

import pandas as pd

from luthier.reports import result_csv


def test_only_numbers_and_empty_cells(tmp_path):
    path = tmp_path / "compiled_results.csv"
    records = [
        {"step": 1, "training_loss": 0.1 + 0.2, "validation_loss": None},
        {"step": 2, "training_loss": 0.25, "validation_loss": 0.5, "classification/auroc": float("nan")},
    ]
    columns = ["step", "training_loss", "validation_loss", "classification/auroc"]
    result_csv.write(path, columns, records)
    assert path.read_bytes() == b"step,training_loss,validation_loss\n1,0.30000000000000004,\n2,0.25,0.5\n"
    assert all(pd.api.types.is_numeric_dtype(kind) for kind in pd.read_csv(path).dtypes)
    assert result_csv.read(path) == [
        {"step": 1, "training_loss": 0.1 + 0.2},
        {"step": 2, "training_loss": 0.25, "validation_loss": 0.5},
    ]
