"""The picture of attention: written whole or not at all, whatever the tokens hold; what cannot be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from elman.errors import DataError, OptionError
from elman.training.pictures.attention import MOST, draw_attention


def test_more_weight_is_darker(tmp_path: Path) -> None:
    weights = np.eye(3, 5) * 0.5
    draw_attention([*"abcd", "</s>"], ["$x_1$ {", "\u4e2d", " "], weights, tmp_path / "a.png")
    draw_attention([*"abcd", "</s>"], ["$x_1$ {", "\u4e2d", " "], 2 * weights, tmp_path / "b.png")
    light, dark = (matplotlib.image.imread(tmp_path / name)[..., :3].mean() for name in ("a.png", "b.png"))
    assert dark < light - 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.png"
    with pytest.raises(DataError, match=r"weights of shape \(2, 2\) are not those of 1 by 2 tokens"):
        draw_attention(["a", "b"], ["c"], np.ones((2, 2)), out)
    with pytest.raises(DataError, match=f"at most {MOST} are drawn"):
        draw_attention(["a"] * (MOST + 1), ["b"], np.ones((1, MOST + 1)), out)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        OptionError, match=r"a picture needs matplotlib; install it with: pip install 'elman\[report\]'"
    ):
        draw_attention(["a"], ["b"], np.ones((1, 1)), out)
    assert not out.exists()
