"""Tables as streams: what is wrong in a file is refused by column and row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lifelong import DataError, LifelongWarning
from lifelong.streams import from_frame, from_table

pd = pytest.importorskip("pandas", reason="needs pandas: pip install 'lifelong[table]'")
ROWS = "month,a,b,late\n" + "".join(f"{m},{i}.5,{-i},{i % 2}\n" for m in ("may", "june") for i in range(10))


def table(folder: Path, text: str = ROWS) -> Path:
    path = folder / "data.csv"
    path.write_text(text)
    return path


def test_its_columns_are_noted(tmp_path: Path) -> None:
    stream = from_table(table(tmp_path), "month", "late")
    assert stream.notes["columns"] == ["a", "b"]
    assert [t.name for t in stream] == ["may", "june"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("3.5,-3", ",-3"), r"column 'a': nan in row 4 of 20 is no number that float32 holds \(2 such rows\)"),
        (("3.5,-3", "1e300,-3"), r"column 'a': 1e\+300 in row 4"),
        (("may,2.5,-2,0", "may,2.5,-2,"), "column 'late' is empty in row 3 of 20"),
        (("may,2.5", ",2.5"), "column 'month' is empty in row 3 of 20"),
        (("month,a,b,late", "month,a,a,late"), "2 columns are called 'a': rename them"),
        (("month,a,b,late", "month,late,b,late"), "2 columns are called 'late'"),
        (("3.5,-3", "three,-3"), r"column 'a' holds .*--stream.features a,b"),
    ],
)
def test_what_is_wrong_is_said_by_column_and_row(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        from_table(table(tmp_path, ROWS.replace(*change)), "month", "late")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file none\.csv here"):
        from_table(Path("none.csv"), "month", "late")


def test_an_index_that_was_written_along_is_named(tmp_path: Path) -> None:
    pd.read_csv(table(tmp_path)).to_csv(tmp_path / "again.csv")
    with pytest.warns(LifelongWarning, match="a column without a name is one of the inputs"):
        from_table(tmp_path / "again.csv", "month", "late")


def test_dates_are_tasks() -> None:
    days = pd.to_datetime(["2024-05-01"] * 6 + ["2024-06-01"] * 6)
    frame = pd.DataFrame({"day": days, "a": torch.arange(12.0).numpy(), "y": [0, 1] * 6})
    assert [t.name[:10] for t in from_frame(frame, "day", "y")] == ["2024-05-01", "2024-06-01"]
