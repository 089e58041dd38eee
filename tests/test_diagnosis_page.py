"""The page of a report, in a real browser: all is drawn, no error, hover and search; hostile text stays text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import elman
from elman.cells import CATALOGUE
from elman.cli.app import run
from elman.diagnosis import Probe, Report, Sampling
from elman.diagnosis.figures import Learning
from elman.diagnosis.page import LIMIT, html
from elman.nn import Recurrent

QUICK = Sampling(sequences=2, ends=3, vectors=2, places=2, exponents=2, shown=1)
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">@DATA@&\ud800\u2028"
)
CHARTS = {
    "gradient flow",
    "share of each step",
    "gain by lag",
    "sensitivity",
    "Lyapunov exponents",
    "mean of each unit",
}

# Runs before the page's own script, and looks at what that has drawn; not part of the page.
WATCH = """<script>
const found = {errors: []};
window.onerror = message => { found.errors.push(String(message)); };
addEventListener("load", () => setTimeout(() => {
  const inked = canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some(v => v);
  const charts = [...document.querySelectorAll("[data-chart]")];
  found.charts = charts.map(c => c.dataset.chart);
  found.blank = charts.filter(c => {
    const canvas = c.matches("canvas") ? c : c.querySelector("canvas");
    return canvas ? !inked(canvas) : !c.children.length;
  }).map(c => c.dataset.chart);
  found.unnamed = charts.filter(c => !c.getAttribute("aria-label")).length;
  found.background = getComputedStyle(document.body).backgroundColor;
  const told = heat => heat.closest(".map").nextSibling.textContent;
  found.hover = {}; found.key = {};
  for (const heat of document.querySelectorAll("canvas.heat")) {
    const box = heat.getBoundingClientRect();
    heat.dispatchEvent(new PointerEvent("pointermove", {clientX: box.left + 1, clientY: box.top + 1}));
    found.hover[heat.dataset.chart] = told(heat);
    heat.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
    found.key[heat.dataset.chart] = told(heat);
  }
  found.marked = [...document.querySelectorAll(".field .mark")].filter(m => m.offsetWidth).length;
  const searches = [...document.querySelectorAll("input[type=search]")], search = searches[0];
  if (search) {
    const panel = search.closest(".panel"), spans = [...panel.querySelectorAll(".text span")];
    found.presets = [...panel.querySelectorAll(".preset")].map(b => b.textContent);
    panel.querySelector(".preset").click();
    found.searched = searches.map(s => s.value);
    found.units = [...panel.querySelectorAll(".found button")].map(b => b.textContent);
    found.pressed = [...panel.querySelectorAll('.found [aria-pressed="true"]')].map(b => b.textContent);
    found.unit = [...panel.querySelectorAll(".u-title")].map(t => t.textContent);
    found.colours = new Set(spans.map(s => s.style.backgroundColor)).size;
    spans[2].dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
    found.pointed = panel.querySelector(".told").textContent;
    search.value = "no such text";
    search.dispatchEvent(new Event("input"));
    found.none = panel.querySelector(".found").textContent;
    const map = panel.querySelector("canvas.heat"), box = map.getBoundingClientRect();
    map.dispatchEvent(new PointerEvent("pointerdown", {clientX: box.left + 1, clientY: box.bottom - 2}));
    found.picked = panel.querySelector(".u-title").textContent;
  }
  found.scales = {};  // where the line of 1 % lies, in each chart of the gain: at one height where they share a scale
  for (const box of charts.filter(c => c.dataset.chart === "gain by lag")) {
    const over = box.querySelector(".u-over"), at = over.getBoundingClientRect();
    over.dispatchEvent(new MouseEvent("mouseenter", {clientX: at.left + 2, clientY: at.top + 2}));
    over.dispatchEvent(new MouseEvent("mousemove", {clientX: at.left + 2, clientY: at.top + 2}));
    const points = [...box.querySelectorAll(".u-cursor-pt")], last = points.at(-1);
    const heights = found.scales[box.closest("section").querySelector("h2").textContent] ??= [];
    heights.push(last ? last.style.transform.split(",")[1] : "");
  }
  const ticks = title => charts.filter(c => c.dataset.chart === title).map(c => c.getAttribute("aria-label"));
  found.labels = Object.fromEntries(charts.map(c => [c.dataset.chart, ticks(c.dataset.chart)]));
  found.tables = [...document.querySelectorAll(".sides tr")].map(r => [...r.children].map(c => c.textContent));
  const selects = [...document.querySelectorAll("select")].slice(0, 12);
  for (const select of selects) for (const option of [...select.options].slice(-3)) {
    select.value = option.value;
    select.dispatchEvent(new Event("change"));
  }
  document.body.style.width = "320px";  // 1280 at 400 %
  setTimeout(() => {
    found.wide = document.body.scrollWidth > 320;
    document.documentElement.dataset.found = JSON.stringify(found);
  }, 300);
}, 300));
</script>"""


def diagnosed(cell: str = "lstm", symbols: Any = None, **options: Any) -> Report:
    layer, x = Recurrent(cell, 3, 4, **options), torch.randn(8, 2, 3)
    loss = lambda: layer(x)[0].square().sum()  # noqa: E731
    return elman.diagnose(Probe(layer, loss, {"": symbols} if symbols else {}), sampling=QUICK)


def learnt(layers: int) -> tuple[Learning, ...]:
    at, places = np.array([10, 20, 35]), np.arange(5)
    rising = 0.001 * 2.0 ** (np.arange(3)[:, None] + places)
    return tuple(
        Learning(
            "", k, "forward", at, np.array([3.0, 2.0, 1.0]), places, rising, places, 1 / rising, np.array([1, 2, 4]),
            np.array([0.5, 0.6, 0.7]),
        )
        for k in range(layers)
    )  # fmt: skip


def opened(page: bytes, folder: Path, *options: str, watched: bool = True) -> tuple[str, str]:
    """(the document after its scripts ran, what the browser logged)."""
    if BROWSER is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    text = page.decode()
    if watched:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: WATCH, text, count=1)
    (folder / "page.html").write_text(text, encoding="utf-8")
    quiet = "headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update"
    command = [
        BROWSER,
        *(f"--{flag}" for flag in quiet.split()),
        "--disable-sync",
        f"--user-data-dir={folder / 'user'}",
    ]
    command += ["--enable-logging=stderr", "--virtual-time-budget=3000", *options, "--dump-dom"]
    done = subprocess.run([*command, (folder / "page.html").as_uri()], capture_output=True, timeout=120, check=True)
    logged = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode(errors="replace"), "\n".join(logged)


def seen(page: bytes, folder: Path, *options: str) -> dict[str, Any]:
    document, logged = opened(page, folder, *options)
    assert logged == ""
    match = re.search(r'data-found="([^"]*)"', document)
    assert match, "the page's script did not come to its end"
    found: dict[str, Any] = json.loads(unescape(match.group(1)))
    assert (found["errors"], found["blank"], found["unnamed"]) == ([], [], 0)
    return found


def test_the_page_is_whole_in_itself() -> None:
    page = html({"a": diagnosed()}).decode()
    assert not re.search(r"<(?:link|img|iframe|object)\b|@import|url\(|\bimport\(", page)
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:|//)""", page)
    assert not re.search(r"\bfetch\(|XMLHttpRequest|WebSocket|@SCRIPT@|@HASH@", page)
    assert "innerHTML" not in (files("elman.diagnosis") / "page.js").read_text(encoding="utf-8")


def test_a_browser_draws_it_all(tmp_path: Path) -> None:
    text = list('"a" (b)\n')
    found = seen(html({"a": diagnosed(symbols=[text, text], num_layers=2)}), tmp_path)
    assert set(found["charts"]) >= CHARTS | {"eigenvalues", "text"}
    assert found["hover"]["sensitivity"].startswith("‖∂y/∂x‖ = ")
    assert "input at step 0" in found["hover"]["sensitivity"]
    assert "input at step 1" in found["key"]["sensitivity"]
    assert re.fullmatch(r"c, 0 forward = \S+: unit 0, step 0 “\"”", found["hover"]["every unit of c, 0 forward"])
    assert found["marked"] == 2
    assert found["presets"][:4] == ["quotes", "brackets", "line position", "word position"]
    assert len(found["units"]) == 8
    assert re.fullmatch(r"\S+, [01] forward, unit \d: [+−][01]\.\d\d", found["units"][0])
    strengths = [float(line[-4:]) for line in found["units"]]
    assert strengths == sorted(strengths, reverse=True)
    assert found["pressed"] == found["units"][:1]
    assert found["unit"][0] == found["units"][0].partition(":")[0], "the best is shown"
    assert found["pointed"].startswith(f'{found["unit"][0]} at step 2 “"”: ')
    assert found["none"] == "The text shown has none of this, or nothing else."
    assert found["picked"].endswith("unit 3"), "a click on the last row of the map of units"
    assert found["colours"] > 3
    assert found["background"] == "rgb(255, 255, 255)"


def test_dark_and_narrow(tmp_path: Path) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    found = seen(html({"a": diagnosed(), "b": diagnosed("gru")}), tmp_path, dark)
    assert found["background"] != "rgb(255, 255, 255)"
    assert not found["wide"], "at 400 % zoom the page must not scroll sideways"


def test_several_models_stand_side_by_side(tmp_path: Path) -> None:
    text = [list("a b c d ")] * 2
    reports = {
        "rnn": diagnosed("rnn", text),
        "lstm": diagnosed("lstm", text, num_layers=2),
        "gru": diagnosed("gru", text),
    }
    (network,) = reports["gru"].networks
    fading = replace(network.layers[0].memory, gain=10.0 ** -np.arange(8))
    layers = (replace(network.layers[0], memory=fading),)
    reports["gru"] = replace(reports["gru"], networks=(replace(network, layers=layers),))
    found = seen(elman.compare(reports).html(), tmp_path)
    for chart in CHARTS - {"Lyapunov exponents", "gain by lag"}:
        assert found["charts"].count(chart) == 3, chart
    assert found["charts"].count("gain by lag") == 4
    assert found["charts"].count("gradient flow, ∂L/∂h") == 1
    assert found["labels"]["gradient flow, ∂L/∂h"][0].startswith("gradient flow, ∂L/∂h: 4 lines")
    assert len(found["scales"]["Memory"]) == 3
    assert len(set(found["scales"]["Memory"])) == 1, "charts of one kind have one scale"
    assert "px" in found["scales"]["Memory"][0]
    assert found["searched"] == ["word position"] * 3, "what is sought in one is sought in all"
    assert found["tables"][0] == ["", "rnn", "lstm", "gru"]
    rows = {row[0]: row[1:] for row in reversed(found["tables"])}
    assert rows["cell"] == ["rnn 4", "lstm 4", "gru 4"]
    memory = [str(report.layers[0].memory.steps) for report in reports.values()]
    assert [cell.rstrip("+") for cell in rows["memory, steps"]] == memory


def test_what_training_logged_is_drawn(tmp_path: Path) -> None:
    found = seen(html({"a": replace(diagnosed(num_layers=2), learning=learnt(2)), "b": diagnosed()}), tmp_path)
    assert found["charts"].count("effective memory") == 1
    assert found["charts"].count("effective memory while it learned") == 1
    assert found["charts"].count("gradient by step, against training") == 1
    told = found["hover"]["gradient by step, at every look"]
    assert told == "‖∂L/∂h‖ = 1.00e-3: step 0, training step 10"
    one = seen(html({"a": replace(diagnosed(), networks=(), learning=learnt(1))}), tmp_path)
    assert set(one["charts"]) == {
        "effective memory",
        "gradient by step, against training",
        "gradient by step, at every look",
    }


def test_a_series_stands_beside_the_units(tmp_path: Path) -> None:
    found = seen(html({"a": diagnosed()}), tmp_path)
    assert found["labels"]["what came in"][0].startswith("what came in: 3 lines against step")
    assert "units" not in found, "there is no text to search"


def test_every_cell_is_drawn(tmp_path: Path) -> None:
    found = seen(html({name: diagnosed(name) for name in CATALOGUE}), tmp_path)
    assert found["charts"].count("gradient flow") == len(CATALOGUE)
    assert found["charts"].count("mean of each unit") == len(CATALOGUE)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    report = diagnosed(symbols=[[HOSTILE] * 8] * 2)
    network = replace(report.networks[0], name=HOSTILE)
    verdict = replace(report.verdicts[0], sentence=HOSTILE, advice=HOSTILE)
    page = html({HOSTILE: replace(report, model=HOSTILE, networks=(network,), verdicts=(verdict,))})
    assert page.count(b"</script>") == 2
    assert b"<img" not in page
    document, logged = opened(page, tmp_path, watched=False)
    assert logged == "", "also the rule of what may run holds nothing back"
    title = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    assert title
    assert title.group(1).startswith("elman diagnose: &lt;/script&gt;")
    assert "<img" not in document
    seen(page, tmp_path)


def test_a_long_report_stays_below_the_limit() -> None:
    layer = Recurrent("lstm", 4, 96, 3, bidirectional=True)
    report = elman.diagnose(layer, torch.randn(300, 2, 4), sampling=QUICK)
    assert len(report.to_json()) > LIMIT
    (one,) = learnt(1)
    at, places = np.arange(700), np.arange(64)
    map = np.random.rand(len(at), len(places))
    long = replace(one, at=at, loss=at / 7, steps=places, lags=places, gradient=map, gain=map, memory=at, rate=at / 3)
    assert len(html({"a": report, "b": replace(report, learning=(long,) * 12)})) < LIMIT


def test_values_are_those_of_the_report() -> None:
    import base64

    report = diagnosed()
    page = html({"a": report}).decode()
    (drawn,) = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["reports"]
    for one, own in zip(
        report.networks[0].layers[0].activity, drawn["networks"][0]["layers"][0]["activity"], strict=True
    ):
        kept = own["values"]
        values = torch.tensor(list(base64.b64decode(kept["data"]))).view(-1, len(kept["units"])).double()
        assert own["name"] == one.name
        wanted = torch.from_numpy(one.values[:, 0, kept["units"]]).double()
        near = (kept["high"] - kept["low"]) / 254
        torch.testing.assert_close(kept["low"] + near * values, wanted, rtol=0, atol=near + 1e-3)


@pytest.mark.parametrize("name", ["report.txt", "none/report.html"])
def test_a_bad_place_is_one_sentence(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["diagnose", "m.elman", "t.txt", "--out", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--out" in said
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_writes_it_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, model, out = tmp_path / "t.txt", tmp_path / "m.elman", tmp_path / "r.html"
    text.write_text('he said "so it goes" and went on\n' * 8, encoding="utf-8")
    fitted = elman.LanguageModel(hidden_size=6, embedding_size=4, epochs=1, batch_size=2, bptt=10)
    fitted.fit(text).save(model)
    words = ["diagnose", str(model), str(text), "--steps", "12", "--sequences", "2", "--out", str(out)]
    assert run(words) == 0
    whole = out.read_bytes()
    assert b"m.elman" in whole
    assert whole.endswith(b"</html>\n")
    monkeypatch.setattr("elman.diagnosis.page._report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(words)
    assert out.read_bytes() == whole
