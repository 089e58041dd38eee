"""`forecast` on the command line: from a raw file to a table of figures, records, CSV and a picture; bad inputs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from elman.cli import main

TRAIN = ["--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--epochs", "2", "--epoch-batches", "20"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a.csv (two series of days, one input known ahead) and a model of it."""
    folder = tmp_path_factory.mktemp("forecast")
    generator = np.random.default_rng(0)
    with (folder / "a.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "day", "value", "offer"])
        for name in "ab":
            for day in np.datetime64("2024-01-01") + np.arange(90):
                offer = int(generator.integers(0, 2))
                known = day < np.datetime64("2024-03-26")
                wave = np.sin(2 * np.pi * int(day.astype(int)) / 7) + 2 * offer
                rows.writerow([name, day, f"{10 + wave:.3f}" if known else "", offer])
    model = str(folder / "m.elman")
    command = ["train", "forecast", str(folder / "a.csv"), *TRAIN, "--known", "offer", "--holdout", "12", "--quiet"]
    assert main([*command, "--out", model]) == 0
    return folder


def test_training_tells_what_was_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "forecast", str(place / "a.csv"), *TRAIN, "--known", "offer", "--holdout", "12", "--quiet"]
    assert main([*command, "--out", str(place / "again.elman")]) == 0
    told = capsys.readouterr().out
    for words in (
        "forecaster of series", "12 steps of 1 day; seasons 7; calendar: weekday, day, month; known: offer; gives 4",
        "the last 10 % of every series", "before the last 12 steps", "naive mase", "--picture forecast.png",
    ):  # fmt: skip
        assert words in told


def test_evaluate_shows_the_naive_forecasts_beside(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(place / "m.elman"), str(place / "a.csv")]
    assert main([*command, "--steps", "16", "--stride", "2", "--picture", str(place / "e.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["smape", "model", "naive", "drift", "seasonal_naive"]
    assert (place / "e.png").read_bytes()[:4] == b"\x89PNG"
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert {"smape", "mase", "pinball", "coverage_80", "naive_smape", "drift_mase", "seasonal_naive_mae"} <= set(
        figures
    )


def test_predict_writes_records_csv_and_a_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", str(place / "m.elman"), str(place / "a.csv")]
    assert main([*command, "--picture", str(place / "f.png")]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["series"], r["time"], r["step"]) for r in records[3:5]] == [
        ("a", "2024-03-29", 4),
        ("b", "2024-03-26", 1),
    ]
    assert (place / "f.png").stat().st_size > 10_000
    assert main([*command, "--out", str(place / "f.csv")]) == 0
    with (place / "f.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["high_95"]) for row in written] == [record["high_95"] for record in records]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,2024-01-01,x,0"], "line 2: column 'value' holds 'x'"),
        (["a,2024-01-01,1,0", "a,2024-01-01,2,0"], "line 3: series 'a' has the time 2024-01-01 a second time"),
        (["a,2024-01-01,1,0", "a,1.2.2024,2,0"], "line 3: column 'day' holds '1.2.2024'"),
        (
            [f"a,2024-01-0{day},{value},0" for day, value in enumerate(["1", "2", "", "", "", ""], 1)],
            "bad.csv: series 'a' has 2 values, but 12 are needed: the model's lookback of 12",
        ),
        (["a,2024-01-01 00:00,1,0", "a,2024-01-01 12:00,2,0"], "is not a whole number of steps of 1 day"),
        ([f"a,2024-01-{day:02d},{day},0" for day in range(1, 21)], "known input 'offer' is missing at 2024-01-21"),
    ],
)
def test_bad_files_are_one_sentence(
    place: Path, tmp_path: Path, rows: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text("\n".join(["id,day,value,offer", *rows]))
    assert main(["predict", str(place / "m.elman"), str(tmp_path / "bad.csv")]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_options_of_other_tasks_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(place / "m.elman"), str(place / "a.csv")]
    for words, told in (
        (["predict", *command, "--probabilities"], "--probabilities is for a"),
        (["predict", *command, "--input", "x"], "--input names a column"),
        (["evaluate", *command, "--steps", "2"], "holds no horizon of 4 steps"),
        (["evaluate", *command, "--target", "vlaue"], "did you mean 'value'"),
        (["train", "forecast", str(place / "a.csv"), "--known", "ofer"], "did you mean 'offer'"),
        (["train", "forecast", "made:parity"], "made for another task"),
        (["train", "forecast", str(place / "a.csv"), "--horizon", "99", "--quiet"], "need"),
    ):
        assert main(words) == 2
        assert told in capsys.readouterr().err
