"""The regressor: it learns to add, in the units of the data, and says in one sentence what it cannot take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elman.data import make
from elman.errors import DataError, ElmanError
from elman.models import SequenceRegressor


def shifted(table: Any) -> Any:
    """The table with targets far from 0 and on a large scale, as prices or temperatures in kelvin are."""
    table.columns["target"] = [300 + 50 * number for number in table.columns["target"]]
    return table


def test_it_learns_to_add_and_says_the_same_in_another_process(tmp_path: Path) -> None:
    model = SequenceRegressor(hidden_size=24, epochs=8, lr=1e-2, seed=1).fit(shifted(make("adding", 1500, (2, 10), 0)))
    test = shifted(make("adding", 300, (2, 10), 1))
    figures = model.evaluate(test)
    assert figures["mse"] < 0.2 * np.var(test.columns["target"])  # always guessing the mean has the variance
    assert figures["r2"] == pytest.approx(1 - figures["mse"] / np.var(test.columns["target"]))
    assert model.score(test) == figures["r2"]
    model.save(tmp_path / "m.elman")
    np.savez(tmp_path / "x.npz", *test.columns["series"][:5])
    code = (
        "import numpy as np; from elman.models import load; x = np.load('x.npz');"
        "print(*(float(y).hex() for y in load('m.elman').predict([x[k] for k in x.files])))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [float.fromhex(y) for y in said.stdout.split()] == model.predict(test.columns["series"][:5]).tolist()


def test_texts_and_equal_numbers() -> None:
    model = SequenceRegressor(hidden_size=4, epochs=1, valid_fraction=0).fit(["ab", "abc", "b"], ["3.5", 3.5, 3.5])
    assert model.predict(["ab"]).shape == (1,)
    assert np.isfinite(model.predict([""])).all()


def test_noise_is_for_learning_alone() -> None:
    series = [np.full((n, 1), float(n)) for n in range(2, 12)]
    with_noise = SequenceRegressor(hidden_size=4, epochs=1, noise=0.5).fit(series, range(10))
    without = SequenceRegressor(hidden_size=4, epochs=1).fit(series, range(10))
    assert (with_noise.predict(series) != without.predict(series)).all()
    assert (with_noise.predict(series) == with_noise.predict(series)).all()


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["1", "two", "3"], "the inputs, number 2: the number is 'two', which is none; `elman train classify`"),
        ([1.0, float("inf"), 2.0], "number 2: the number is inf; it must be one that float32 can hold"),
        ([1.0, None, 2.0], "number 2: the number is missing; fill it in or leave the record out"),
        ([1.0], "there are 3 inputs and 1 numbers; each input needs one"),
        (None, "numbers are missing: give y beside X, or a table with a column of numbers"),
    ],
)
def test_targets_that_are_no_numbers(targets: Any, said: str) -> None:
    with pytest.raises(DataError) as error:
        SequenceRegressor().fit(["a", "b", "c"], targets)
    assert said in str(error.value)


@pytest.mark.parametrize("noise", [-1, float("inf"), "x", True])
def test_noise_that_is_none(noise: Any) -> None:
    with pytest.raises(ElmanError, match="--noise must be a number, 0 or more"):
        SequenceRegressor(noise=noise).check()


def test_a_squared_error_has_no_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from elman.cli import main

    words = "train regress made:adding --count 40 --length 4 --epochs 1 --hidden-size 2 --out"
    assert main([*words.split(), str(tmp_path / "m.elman")]) == 0
    said = capsys.readouterr()
    assert "r2" in said.out
    assert "bits" not in said.out + said.err
