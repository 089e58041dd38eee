"""`elman demo`: a language model of Python's own manual in about a minute, beside two baselines."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elman.cli import report, typed
from elman.cli.runs import Place
from elman.cli.tasks import TASKS
from elman.cli.train import Shown, set_machine
from elman.errors import DataError, OptionError
from elman.models import LanguageModel
from elman.models.language.ngram import character_bits
from elman.training.metrics import bits
from elman.training.progress import Progress

NETWORK: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 256,
    "batch_size": 16,
    "bptt": 64,
    "lr": 3e-3,
    "schedule": "cosine",
}
HELD_OUT = 0.1
ORDERS = (0, 3)
PROMPTS = ("If the ", "The value ")


def demo(chosen: Mapping[str, Any]) -> None:
    """Train, print the figures beside the baselines', a sample, where everything lies and what to type next."""
    seconds, folder = chosen.get("seconds", 60.0), Path(chosen.get("out", "demo"))
    if not 0 < seconds <= 86_400:
        raise OptionError(f"--seconds must be above 0 and at most 86400, not {seconds:g}")
    train, valid = manual()
    files = _folder(folder, train, valid)
    place = Place(str(folder / "manual.elman"))
    place.prepare(resume=False, overwrite=True)
    sizes = f"{len(train):,} characters to learn from, its last topics ({len(valid):,}) held out"
    _say(f"the text of Python's own manual, {len(train) + len(valid):,} characters: {sizes}")
    baselines = {order: character_bits(train, valid, order) for order in ORDERS}
    # As many epochs as fit, so that the learning rate reaches its end before the time is up.
    epochs = max(1, int(0.9 * seconds * _pace(chosen.get("threads"), train) / len(train)))
    model = LanguageModel(**NETWORK, epochs=epochs, max_seconds=seconds)
    data = TASKS[model.task].data([str(files[0])], {"valid": str(files[1])}, model)
    try:
        model.fit(train, valid=valid, folder=place.run, progress=Shown(Progress.auto(), model, place, data))
    finally:
        place.failed()
    model.save(place.model)
    print(_result(model, baselines, seconds))
    print(report.trained(model, place, data, None))
    print("\nsamples, temperature 0.6")
    for prompt in PROMPTS:
        print(_indented(model.generate(prompt, 240, temperature=0.6, seed=1)))
    print("\nnext")
    print(_next(place, files[1]))


def manual() -> tuple[str, str]:
    """The topics of Python's manual in sorted order: what to learn from, and the last ones, about a tenth, held out."""
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except (ImportError, AttributeError):
        raise DataError(
            "this Python lacks the text of its manual (the module pydoc_data.topics); "
            "use another Python, or your own text: elman train language-model FILE"
        ) from None
    texts = [topics[name] for name in sorted(topics)]
    cut = len(texts)
    while cut > 1 and sum(map(len, texts[cut:])) < HELD_OUT * sum(map(len, texts)):
        cut -= 1
    return "\n".join(texts[:cut]) + "\n", "\n".join(texts[cut:])


def _folder(folder: Path, *texts: str) -> list[Path]:
    """The folder, with the texts in it, so that the commands to type next find them."""
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "train.txt", folder / "valid.txt"]
    for file, text in zip(files, texts):
        file.write_text(text, encoding="utf-8")
    return files


def _pace(threads: int | None, train: str) -> float:
    """Characters a second on this machine, with the number of threads that is fastest here unless it was chosen."""
    import torch

    speeds: dict[int, float] = {}
    # On a machine that is busy with other things, several threads wait for each other and one can be faster.
    for count in [threads] if threads is not None else sorted({1, torch.get_num_threads()}):
        set_machine(count)
        speeds[count] = _speed(train)
    best = max(speeds, key=speeds.__getitem__)
    set_machine(best)
    _say(f"this machine trains on {speeds[best]:,.0f} characters a second with {best} thread{'s' * (best > 1)}")
    return speeds[best]


def _speed(train: str) -> float:
    probe = LanguageModel(**NETWORK, epochs=1, valid_fraction=0.0)
    window = NETWORK["batch_size"] * NETWORK["bptt"]
    probe.fit(train[: 3 * window])  # the first steps allocate memory and start threads
    probe.set_params(epochs=1000, max_seconds=1.0).fit(train[: 20 * window])
    return float(probe.summary_.steps * window / probe.summary_.seconds)


def _result(model: LanguageModel, baselines: Mapping[int, float], seconds: float) -> str:
    own = bits(model.summary_.best["loss"])
    lines = {
        "character frequencies alone (order 0)": f"{baselines[0]:.3f}",
        "the last 3 characters counted (order 3, Witten-Bell)": f"{baselines[3]:.3f}",
        f"this {NETWORK['cell'].upper()} after {model.summary_.seconds:.0f} s": f"{own:.3f}",
    }
    gain = baselines[3] - own
    verdict = (
        f"better than the order-3 baseline by {gain:.3f} bits per character"
        if gain > 0
        else f"NOT better than the order-3 baseline: {-gain:.3f} bits per character behind it; "
        f"this machine needs longer: elman demo --seconds {2 * seconds:g}"
    )
    return f"bits per character of the held-out text (lower is better)\n{report.block(lines)}\n  {verdict}\n"


def _next(place: Place, valid: Path) -> str:
    return "\n".join(
        f"  {typed(line)}"
        for line in (
            f"elman generate {place.model} --prompt '{PROMPTS[0]}' --length 300 --temperature 0.6",
            f"elman evaluate {place.model} {valid}",
            f"elman info {place.model}",
            "elman train language-model YOUR.txt --epochs 5",
            "elman cells",
            "elman train --help",
        )
    )


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
