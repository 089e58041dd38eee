// Draws the report in #data. All text from models and data goes in as text nodes, never as markup.
"use strict";
(() => {
  const reports = JSON.parse(document.getElementById("data").textContent);
  const COLOURS = ["#3b82d6", "#d9534f", "#2a9d6f", "#c08a12", "#9361c9", "#1597ab", "#d0671e", "#7b8698", "#c2478f", "#6d9b1d"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let drawn = [], count = 0;

  // --- small helpers -------------------------------------------------------------------------------------------------
  function el(tag, attributes, ...inside) {
    const node = tag === "svg" || tag.startsWith("svg:")
      ? document.createElementNS("http://www.w3.org/2000/svg", tag.replace("svg:", "")) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    node.append(...inside);
    return node;
  }
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const range = n => Array.from({ length: n }, (_, i) => i);
  const log = values => values.map(v => (v === null || v <= 0 ? null : Math.log10(v)));
  const number = v => (v === null || v === undefined ? "–" : v === 0 ? "0" : Math.abs(v) < 0.01 || Math.abs(v) >= 1e5 ? v.toExponential(2) : String(+v.toPrecision(3)));
  // The panels stand in the page before they are filled: charts take their widths from it.
  function section(title, definition, draw) {
    const place = el("div", { class: "panels" });
    const whole = el("section", {}, el("h2", {}, title), el("details", {}, el("summary", {}, "What this shows"), el("p", {}, definition)), place);
    document.getElementById("page").append(whole);
    for (const report of reports) for (const network of report.networks) {
      const name = [reports.length > 1 ? report.name : "", network.name].filter(Boolean).join(", ");
      const panel = el("div", { class: "panel" }, ...(name ? [el("h3", {}, name)] : []));
      place.append(panel);
      draw(panel, network);
      if (!panel.querySelector("[data-chart], table")) panel.remove();
    }
    if (!place.children.length) whole.remove();
  }
  function choice(into, label, names, act) {
    const id = `choice-${++count}`;
    const select = el("select", { id }, ...names.map((name, i) => el("option", { value: i }, name)));
    select.addEventListener("change", () => act(+select.value));
    if (names.length > 1) into.append(el("label", { for: id }, label, select));
    return select;
  }
  function chooser(panel, ...choices) {  // [label, names] each; calls draw with all that is chosen
    const row = el("div", { class: "choices" }), place = el("div"), draw = choices.pop();
    const selects = choices.map(([label, names]) => choice(row, label, names, () => again()));
    const again = () => { place.replaceChildren(); draw(place, ...selects.map(select => +select.value)); };
    panel.append(row, place);
    again();
    return again;
  }

  // --- line charts, by uPlot -----------------------------------------------------------------------------------------
  // series: [{name, y, points}]; log: the y are drawn as their logarithms.
  function lines(into, { title, x, label, series, logarithmic = false, across = "", level = null }) {
    series = series.filter(one => one.y.some(v => v !== null && (!logarithmic || v > 0)));
    if (!series.length) { into.append(el("p", { class: "soft" }, `${title}: nothing to draw.`)); return; }
    if (level !== null) series = [...series, { name: level[0], y: x.map(() => level[1]), dash: [6, 4] }];
    const all = series.slice(0, level === null ? undefined : -1).flatMap(one => one.y).filter(v => v !== null);
    const about = `${title}: ${series.length} ${series.length > 1 ? "lines" : "line"} against ${across}, from ${number(Math.min(...all))} to ${number(Math.max(...all))}`;
    const box = el("div", { class: "chart", "data-chart": title, role: "img", "aria-label": about });
    into.append(box);
    const value = v => (v === null || v === undefined ? "–" : number(logarithmic ? 10 ** v : v));
    const axis = () => ({ stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } });
    const chart = new uPlot({
      title, width: Math.max(box.clientWidth, 200), height: 260, cursor: { points: { size: 6 } },
      scales: { x: { time: false }, y: { range: (u, low, high) => { const pad = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5; return [low - pad, high + pad]; } } },
      axes: [
        { ...axis(), label: across, labelSize: 22, size: 36 },
        { ...axis(), size: 64, values: (u, ticks) => ticks.map(v => (!logarithmic ? number(v) : Math.abs(v - Math.round(v)) < 1e-6 ? `1e${Math.round(v)}` : number(10 ** v))), ...(logarithmic ? { incrs: [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100] } : {}) },
      ],
      series: [{ label, value: (u, v) => (v === null || v === undefined ? "–" : v) }, ...series.map((one, i) => ({
        label: one.name, stroke: one.dash ? colour("--soft") : COLOURS[i % COLOURS.length], width: 1.5, dash: one.dash, value: (u, v) => value(v), spanGaps: false,
        points: { show: !one.dash && x.length < 3 || !!one.points, size: 5 },
      }))],
    }, [x, ...series.map(one => (logarithmic ? log(one.y) : one.y))], box);
    watch(box, width => chart.setSize({ width, height: 260 }));
  }
  function watch(box, act) {
    let width = box.clientWidth;
    const observer = new ResizeObserver(() => { if (box.clientWidth && box.clientWidth !== width) requestAnimationFrame(() => act(width = box.clientWidth)); });
    observer.observe(box);
    drawn.push(observer);
  }
  const indexed = (rows, name) => ({ x: range(Math.max(...rows.map(row => row[name].length))), y: row => range(Math.max(...rows.map(r => r[name].length))).map(i => row[name][i] ?? null) });

  // --- the heat map --------------------------------------------------------------------------------------------------
  const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  function ramp(share) {
    const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), i = Math.min(Math.floor(at), RAMP.length - 2);
    return RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (at - i)));
  }
  function heat(into, { map, ends, from }) {
    const values = log(map.flat()).filter(v => v !== null);
    if (!values.length) return;
    const high = Math.max(...values), low = Math.max(Math.min(...values), high - 8);
    const canvas = el("canvas", { class: "heat", width: from.length, height: ends.length, tabindex: 0, role: "img", "data-chart": "sensitivity",
      "aria-label": `Sensitivity of the outputs at ${ends.length} steps to the inputs at ${from.length} steps; arrow keys move the place that is told below` });
    const told = el("p", { class: "soft", "aria-live": "polite" }, "Point at the map, or move with the arrow keys.");
    const pen = canvas.getContext("2d"), image = pen.createImageData(from.length, ends.length);
    map.forEach((row, i) => row.forEach((v, j) => {
      const shade = v === null || v <= 0 ? RAMP[0] : ramp((Math.log10(v) - low) / (high - low || 1));
      image.data.set([...shade, 255], 4 * (i * from.length + j));
    }));
    pen.putImageData(image, 0, 0);
    let place = [0, 0];
    const tell = (i, j) => {
      place = [Math.min(Math.max(i, 0), ends.length - 1), Math.min(Math.max(j, 0), from.length - 1)];
      told.textContent = `‖∂y/∂x‖ = ${number(map[place[0]][place[1]])}: output at step ${ends[place[0]]}, input at step ${from[place[1]]}`;
    };
    canvas.addEventListener("pointermove", event => {
      const box = canvas.getBoundingClientRect();
      tell(Math.floor((event.clientY - box.top) / box.height * ends.length), Math.floor((event.clientX - box.left) / box.width * from.length));
    });
    canvas.addEventListener("keydown", event => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (move) { event.preventDefault(); tell(place[0] + move[0], place[1] + move[1]); }
    });
    into.append(canvas, told, el("p", { class: "soft" }, `Across: the input's step, ${from[0]} to ${from.at(-1)}. Down: the output's step, ${ends[0]} to ${ends.at(-1)}. Dark is ${number(10 ** low)} or less, bright ${number(10 ** high)}, by the logarithm.`));
  }

  // --- eigenvalues ---------------------------------------------------------------------------------------------------
  function circle(into, name, points, radius) {
    const known = points.filter(([a, b]) => a !== null && b !== null);
    const reach = Math.max(1.1, ...known.map(([a, b]) => Math.hypot(a, b) * 1.1));
    const svg = el("svg", { class: "circle", viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}`, role: "img", "data-chart": "eigenvalues",
      "aria-label": `${known.length} eigenvalues of ${name} around the unit circle; spectral radius ${number(radius)}` },
    el("svg:path", { class: "axis", d: `M${-reach} 0H${reach}M0 ${-reach}V${reach}` }), el("svg:circle", { class: "unit", r: 1 }));
    svg.style.setProperty("font-size", `${reach / 10}px`);
    for (const [a, b] of known) svg.append(el("svg:circle", { class: "point", cx: a, cy: -b, r: reach * 0.014 }, el("svg:title", {}, `${number(a)} ${b < 0 ? "−" : "+"} ${number(Math.abs(b))}i, |λ| = ${number(Math.hypot(a, b))}`)));
    into.append(svg, el("p", { class: "soft" }, `${name}: ${known.length} eigenvalues, spectral radius ${number(radius)}. The circle is |λ| = 1.`));
  }

  // --- units over the text -------------------------------------------------------------------------------------------
  const inside = test => symbols => symbols.map(s => (test(s) ? 1 : 0));
  const since = test => symbols => { let n = 0; return symbols.map(s => (test(s) ? (n = 0) : (n += s.length || 1))); };
  const PATTERNS = {
    "quotes": symbols => {
      const mark = symbols.some(s => /["“]/.test(s)) ? /["“”]/g : /'/g;
      let open = 0;
      return symbols.map(s => { const n = (s.match(mark) || []).length; const was = open; open = (open + n) % 2; return was || open || n ? 1 : 0; });
    },
    "brackets": symbols => { let depth = 0; return symbols.map(s => { for (const c of s) depth = "([{".includes(c) ? depth + 1 : ")]}".includes(c) ? Math.max(depth - 1, 0) : depth; return depth; }); },
    "line position": since(s => s.includes("\n")),
    "word position": since(s => /^\s+$/.test(s)),
    "spaces": inside(s => /^\s+$/.test(s)),
    "line ends": inside(s => s.includes("\n")),
    "digits": inside(s => /\d/.test(s)),
    "capitals": inside(s => /\p{Lu}/u.test(s)),
    "punctuation": inside(s => /\p{P}/u.test(s)),
    "position": symbols => range(symbols.length),
  };
  function correlation(a, b) {
    const both = range(Math.min(a.length, b.length)).filter(i => a[i] !== null), n = both.length || 1;
    const ma = both.reduce((s, i) => s + a[i], 0) / n, mb = both.reduce((s, i) => s + b[i], 0) / n;
    let ab = 0, aa = 0, bb = 0;
    for (const i of both) { ab += (a[i] - ma) * (b[i] - mb); aa += (a[i] - ma) ** 2; bb += (b[i] - mb) ** 2; }
    return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
  }
  function unpacked({ units, low, high, data }) {  // one list of values over the steps for each unit
    const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), width = units.length;
    return units.map((_, k) => range(width ? bytes.length / width : 0).map(t => { const b = bytes[t * width + k]; return b === 255 ? null : low + (high - low) * b / 254; }));
  }
  function shade(v, most) {
    const share = most ? Math.max(-1, Math.min(1, v / most)) : 0, end = share < 0 ? [58, 124, 214] : [217, 83, 79];
    return `rgb(${end.map(c => Math.round(255 + (c - 255) * Math.abs(share))).join(",")})`;
  }
  function overText(place, symbols, one) {
    const values = unpacked(one.values), names = one.values.units.map(u => `unit ${u}`);
    if (!values.length || !values[0].length) { place.append(el("p", { class: "soft" }, "No values were kept.")); return; }
    const row = el("div", { class: "choices" }), found = el("div", { "aria-live": "polite" }), shown = el("div");
    const select = choice(row, "Unit", names, () => show());
    const spans = symbols.map((s, t) => el("span", {}, s === "\n" ? "⏎\n" : s, ...(symbols.some(x => x.length > 1) ? [" "] : [])));
    const text = el("div", { class: "text", tabindex: 0, role: "group", "data-chart": "text", "aria-label": "The text, each step coloured by the unit's value" }, ...spans);
    const show = () => {
      const own = values[+select.value], centre = one.values.low < 0 && one.values.high > 0 ? 0 : (one.values.low + one.values.high) / 2;
      const most = Math.max(...own.map(v => (v === null ? 0 : Math.abs(v - centre)))) || 1;
      spans.forEach((span, t) => {
        span.style.backgroundColor = own[t] === null || own[t] === undefined ? "" : shade(own[t] - centre, most);
        span.title = `step ${t}: ${number(own[t])}`;
      });
      shown.replaceChildren(...(spans.length ? [el("p", { class: "soft" }, number(centre - most), el("span", { class: "scale", "aria-hidden": "true" }), number(centre + most))] : []));
      lines(shown, { title: `${one.name}, ${names[+select.value]}`, x: range(own.length), label: "step", across: "step", series: [{ name: one.name, y: own }] });
      for (const button of found.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === select.value));
    };
    if (symbols.length) {
      const id = `search-${++count}`, search = el("input", { id, type: "search", list: `${id}-list`, placeholder: "quotes, spaces, or any text", autocomplete: "off" });
      const list = el("datalist", { id: `${id}-list` }, ...Object.keys(PATTERNS).map(value => el("option", { value })));
      search.addEventListener("input", () => {
        const wanted = search.value, pattern = PATTERNS[wanted.trim().toLowerCase()] || inside(s => s.includes(wanted));
        found.replaceChildren();
        if (!wanted) return;
        const mark = pattern(symbols);
        if (mark.every(v => v === mark[0])) { found.append("The text shown has none of this, or nothing else."); return; }
        const ranked = values.map((own, k) => [correlation(own, mark), k]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 8);
        for (const [r, k] of ranked) {
          const button = el("button", { type: "button", value: k, "aria-pressed": "false" }, `${names[k]}: ${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`);
          button.addEventListener("click", () => { select.value = k; show(); });
          found.append(button);
        }
        select.value = ranked[0][1];
        show();
      });
      row.append(el("label", { for: id }, "Find units that follow", search), list);
    }
    place.append(row, found, ...(spans.length ? [text] : []), shown);
    show();
  }

  // --- the page ------------------------------------------------------------------------------------------------------
  function verdicts() {
    document.getElementById("page").append(el("h1", {}, "What happens to the gradient"), el("div", { class: "panels" }, ...reports.map(report => el("div", { class: "panel" },
      el("h3", {}, report.name),
      el("p", { class: "soft" }, `${report.model}: loss ${number(report.loss)}, gradient norm ${number(report.norm)}`),
      el("ul", { class: "verdicts" }, ...report.verdicts.map(v => {
        const item = el("li", { class: v.sick ? "sick" : "well" }, el("span", { class: "mark" }, v.sick ? "! " : "✓ "), v.sentence, v.advice ? ` → ${v.advice}` : "");
        item.append(el("details", {}, el("summary", {}, "The rule"), `${v.rule}: the number is ${number(v.value)}, the threshold ${number(v.threshold)}.`));
        return item;
      }))))));
  }
  const layers = network => ["Layer", network.layers.map(layer => layer.title)];
  function flow(panel, network) {
    const kinds = ["mean", "lower", "median", "upper"];
    chooser(panel, ["Of the sequences, the", ["mean", "lower quartile", "median", "upper quartile"]], (place, kind) => lines(place, {
      title: "gradient flow", x: network.layers[0].steps, label: "step", across: "step", logarithmic: true,
      series: [...network.layers.flatMap(layer => Object.entries(layer.states).map(([name, curve]) => ({ name: `∂L/∂${name}, ${layer.short}`, y: curve[kinds[kind]] }))),
        { name: "∂L/∂x", y: network.input[kinds[kind]] }],
    }));
  }
  const shares = (panel, network) => chooser(panel, layers(network), (place, k) => lines(place, {
    title: "share of each step", x: network.layers[k].steps, label: "step", across: "step", logarithmic: true,
    series: Object.entries(network.layers[k].shares).map(([name, y]) => ({ name, y })) }));
  const memory = (panel, network) => lines(panel, {
    title: "gain by lag", x: network.layers[0].lags, label: "lag", across: "lag k, steps", logarithmic: true, level: ["1 %", 0.01],
    series: network.layers.map(layer => ({ name: layer.short, y: layer.gain })) });
  function eigenvalues(panel, network) {
    const all = network.layers.flatMap(layer => [
      ...layer.matrices.filter(m => m.eigen.length).map(m => [`${m.name}, ${layer.short}`, m]),
      ...layer.jacobian.filter(j => j.eigen.length).map(j => [`step Jacobian at ${j.at}, ${layer.short}`, j])]);
    if (all.length) chooser(panel, ["Matrix", all.map(([name]) => name)], (place, k) => circle(place, all[k][0], all[k][1].eigen, all[k][1].radius));
  }
  function spectra(panel, network) {
    chooser(panel, layers(network), (place, k) => {
      const layer = network.layers[k];
      for (const [title, rows, name] of [["singular values of the recurrent matrices", layer.matrices, "name"], ["singular values of the step Jacobian", layer.jacobian, "at"]]) {
        if (!rows.length) continue;
        const { x, y } = indexed(rows, "singular");
        lines(place, { title, x, label: "number", across: "number, largest first", logarithmic: true, series: rows.map(row => ({ name: row[name], y: y(row) })) });
      }
      if (layer.lyapunov.length) lines(place, { title: "Lyapunov exponents", x: range(layer.lyapunov.length), label: "number", across: "number, largest first",
        level: ["0", 0], series: [{ name: "nats a step", y: layer.lyapunov, points: true }] });
    });
  }
  function activity(panel, network) {
    const kinds = [["mean", "mean"], ["spread", "standard deviation"], ["low", "share near the lower end"], ["high", "share near the upper end"]];
    chooser(panel, layers(network), ["Figure", kinds.map(([, name]) => name)], (place, k, kind) => {
      const own = network.layers[k].activity, head = ["value", "function", "near an end", "mean slope", "steepest", "dead units"];
      lines(place, { title: `${kinds[kind][1]} of each unit`, x: range(own[0].mean.length), label: "unit", across: "units, sorted for each value",
        series: own.map(one => ({ name: one.name, y: range(own[0].mean.length).map(i => one[kinds[kind][0]][i] ?? null) })) });
      place.append(table(head, own.map(one => [one.name, one.kind, number(one.saturated), number(one.slope), number(one.steepest), String(one.dead)])));
    });
  }
  const table = (head, rows) => el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "A table" }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map(name => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows.map(row => el("tr", {}, ...row.map(cell => el("td", {}, cell)))))));
  function units(panel, network) {
    const all = network.layers.flatMap(layer => [...layer.activity].sort((a, b) => b.state - a.state).map(one => [`${one.name}, ${layer.short}`, one]));
    chooser(panel, ["Value", all.map(([name]) => name)], (place, k) => overText(place, network.symbols, all[k][1]));
  }

  function draw() {
    for (const observer of drawn) observer.disconnect();
    drawn = [];
    document.getElementById("page").replaceChildren();
    verdicts();
    section("Layers", "One line for each layer: the gradient at the first and the last step, the effective memory in steps (+: to the end of the data), the gain's factor a step, the spectral radius of the step Jacobian, the largest Lyapunov exponent, the share of saturated values and the dead units.",
      (panel, network) => panel.append(el("p", { class: "soft" }, network.title), table(network.head, network.rows)));
    section("Gradient flow", "‖∂L/∂s_t‖ of each state s at each step t, over the sequences of the batch: all that the value touches, through the outputs and the later steps. A line that falls to the left is a gradient that vanishes on its way back; one that rises explodes. ∂L/∂x is the gradient at the network's input.", flow);
    section("What each step adds to the weights' gradients", "‖[∂L/∂W]_t‖: what the use of W at step t adds to its gradient. Where only the last steps add, only they are learned from.", shares);
    section("Memory", "The gain at lag k: the mean of ‖∂h_t/∂s_{t−k}‖/√H, 1 at lag 0. The effective memory is the largest lag up to which it stays above 1 %.", memory);
    section("Sensitivity", "S[t, s] = ‖∂y_t/∂x_s‖, the mean over the sequences: how much the output at step t hangs on the input at step s, through all layers.", (panel, network) => heat(panel, network.sensitivity));
    section("Eigenvalues", "Of what each state brings into each map of the cell, and of J_t = ∂s_t/∂s_{t−1} along the data. Inside the circle a direction fades, outside it grows.", eigenvalues);
    section("Spectra", "Singular values say how much one step can stretch or shrink; Lyapunov exponents are the mean logarithmic growth a step over the data, below 0 where neighbouring states come together.", spectra);
    section("Gates and units", "Each gate, state and named value of the cell over the batch. Near an end: within 0.05 of it, without the end at which the gate keeps the state. The slope is the mean derivative of the function, beside its largest. Dead: variance below 1e-6.", activity);
    section("Units over the data", "The values of one unit over the first steps of the longest sequence, from blue (low) to red (high). The search ranks units by the correlation of their values with a pattern: quotes, brackets, line position, word position, spaces, line ends, digits, capitals, punctuation, position, or any text that a step holds. Kept are the units that vary most, to 1/254 of the range.", units);
  }
  document.title = `elman diagnose: ${reports.map(report => report.name).join(", ")}`;
  draw();
  dark.addEventListener("change", draw);
})();
