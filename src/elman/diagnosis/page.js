// Draws the report in #data. All text from models and data goes in as text nodes, never as markup.
"use strict";
(() => {
  const { reports, table: compared } = JSON.parse(document.getElementById("data").textContent), several = reports.length > 1;
  const COLOURS = ["#3b82d6", "#d9534f", "#2a9d6f", "#c08a12", "#9361c9", "#1597ab", "#d0671e", "#7b8698", "#c2478f", "#6d9b1d"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let drawn = [], count = 0, part = "", groups = new Map(), links = new Map();

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
  // items: what has a panel of its own; each report's networks where nothing else is said.
  const networks = () => reports.flatMap(report => report.networks.map(network => ({ name: named(report, network.name), item: network })));
  const lone = reports.every(report => report.networks.length < 2);  // its name tells nothing then
  const named = (report, name, layer = "") => [several ? report.name : "", lone ? "" : name, layer].filter(Boolean).join(", ");
  function section(title, definition, draw, items = networks()) {
    const place = el("div", { class: "panels" });
    const whole = el("section", {}, el("h2", {}, title), el("details", {}, el("summary", {}, "What this shows"), el("p", {}, definition)), place);
    document.getElementById("page").append(whole);
    part = title;
    for (const { name, item } of items) {
      const panel = el("div", { class: "panel" }, ...(name ? [el("h3", {}, name)] : []));
      place.append(panel);
      draw(panel, item);
      if (!panel.querySelector("[data-chart], table")) panel.remove();
    }
    if (!place.children.length) whole.remove();
  }
  // What is chosen in one panel is chosen in the section's others as well: acts are told the index, or the text.
  function linked(label, act) {
    const key = `${part}: ${label}`, acts = links.get(key) || [];
    links.set(key, [...acts, act]);
    return value => { for (const other of links.get(key)) if (other !== act) other(value); };
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
    const section = part;
    const selects = choices.map(([label, names, own]) => {
      const tell = own ? () => {} : linked(label, index => { if (index < names.length) { select.value = index; again(); } });
      const select = choice(row, label, names, index => { again(); tell(index); });
      return select;
    });
    const again = () => { place.replaceChildren(); part = section; draw(place, ...selects.map(select => +select.value)); };
    panel.append(row, place);
    again();
    return again;
  }

  // --- line charts, by uPlot -----------------------------------------------------------------------------------------
  // series: [{name, y, points, stroke, dash}]; log: the y are drawn as their logarithms. Charts of one title in a
  // section have one scale, and a cursor that moves over all of them, but those that stand alone.
  function lines(into, { title, x, label, series, logarithmic = false, across = "", level = null, spanGaps = false, alone = false }) {
    series = series.filter(one => one.y.some(v => v !== null && (!logarithmic || v > 0)));
    if (!series.length) { into.append(el("p", { class: "soft" }, `${title}: nothing to draw.`)); return; }
    if (level !== null) series = [...series, { name: level[0], y: x.map(() => level[1]), dash: [6, 4], level: true }];
    const all = series.slice(0, level === null ? undefined : -1).flatMap(one => one.y).filter(v => v !== null);
    const about = `${title}: ${series.length} ${series.length > 1 ? "lines" : "line"} against ${across}, from ${number(Math.min(...all))} to ${number(Math.max(...all))}`;
    const box = el("div", { class: "chart", "data-chart": title, role: "img", "aria-label": about });
    into.append(box);
    const value = v => (v === null || v === undefined ? "–" : number(logarithmic ? 10 ** v : v));
    const data = [x, ...series.map(one => (logarithmic ? log(one.y) : one.y))], known = data.slice(1).flat().filter(v => v !== null);
    const own = { low: Math.min(...known), high: Math.max(...known) }, group = alone || (lone && !several) ? null : grouped(`${part}: ${title}`, own);
    const axis = () => ({ stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } });
    const chart = new uPlot({
      title, width: Math.max(box.clientWidth, 200), height: 260, cursor: { points: { size: 6 }, ...(group ? { sync: { key: `${part}: ${title}` } } : {}) },
      scales: { x: { time: false }, y: { range: (u, low, high) => (group ? group.range() : padded(low, high)) } },
      axes: [
        { ...axis(), label: across, labelSize: 22, size: 36 },
        { ...axis(), size: 64, values: (u, ticks) => ticks.map(v => (logarithmic ? power(v) : number(v))), ...(logarithmic ? { splits: (u, k, low, high) => powers(low, high) } : {}) },
      ],
      series: [{ label, value: (u, v) => (v === null || v === undefined ? "–" : v) }, ...series.map((one, i) => ({
        label: one.name, stroke: one.level ? colour("--soft") : COLOURS[(one.stroke ?? i) % COLOURS.length], width: 1.5, dash: one.dash, value: (u, v) => value(v), spanGaps,
        points: { show: !one.level && x.length < 3 || !!one.points, size: 5 },
      }))],
    }, data, box);
    own.chart = chart;
    if (group) group.align();
    watch(box, width => chart.setSize({ width, height: 260 }));
  }
  // Ticks of a logarithmic scale: powers of ten, so few that they can be read; below three decades 1, 2 and 5 of each; below
  // a third of one even steps.
  function powers(low, high) {
    const every = [1, 2, 3, 5, 10, 20, 50, 100].find(n => n >= (high - low) / 7), tens = range(Math.floor(high) - Math.ceil(low) + 3).map(i => Math.ceil(low) - 1 + i);
    const all = high - low >= 2.7 ? tens.filter(v => v % every === 0) : high - low > 0.3 ? tens.flatMap(v => [v, v + Math.log10(2), v + Math.log10(5)]) : evenly(10 ** low, 10 ** high).map(Math.log10);
    return all.filter(v => v >= low && v <= high);
  }
  function evenly(low, high) {
    const ten = 10 ** Math.floor(Math.log10((high - low) / 5)), step = [1, 2, 5, 10].map(m => m * ten).find(m => m >= (high - low) / 6), first = Math.ceil(low / step);
    return range(Math.floor(high / step) - first + 1).map(i => (first + i) * step);
  }
  function power(v) {
    const value = +(10 ** v).toPrecision(2);
    return value >= 0.01 && value < 1e4 ? String(value) : value.toExponential().replace("e+", "e");
  }
  function padded(low, high) {
    const pad = (high - low) * 0.05 || Math.abs(high) * 0.1 || 0.5;
    return [low - pad, high + pad];
  }
  function grouped(key, own) {
    const group = groups.get(key) || { charts: [] };
    groups.set(key, group);
    group.charts = [...group.charts.filter(one => one.chart.root.isConnected), own];
    group.range = () => padded(Math.min(...group.charts.map(one => one.low)), Math.max(...group.charts.map(one => one.high)));
    group.align = () => { if (group.charts.length > 1) for (const one of group.charts) { const [min, max] = group.range(); one.chart.setScale("y", { min, max }); } };
    return group;
  }
  function watch(box, act) {
    let width = box.clientWidth;
    const observer = new ResizeObserver(() => { if (box.clientWidth && box.clientWidth !== width) requestAnimationFrame(() => act(width = box.clientWidth)); });
    observer.observe(box);
    drawn = [...drawn.filter(one => one.box.isConnected || one.observer.disconnect()), { box, observer }];
  }
  const indexed = (rows, name) => ({ x: range(Math.max(...rows.map(row => row[name].length))), y: row => range(Math.max(...rows.map(r => r[name].length))).map(i => row[name][i] ?? null) });

  // --- the heat map --------------------------------------------------------------------------------------------------
  const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  function ramp(share) {
    const at = Math.min(Math.max(share, 0), 1) * (RAMP.length - 1), i = Math.min(Math.floor(at), RAMP.length - 2);
    return RAMP[i].map((v, k) => Math.round(v + (RAMP[i + 1][k] - v) * (at - i)));
  }
  // The colours of a map by the logarithm, over eight decades at most.
  function logarithmically(map) {
    const values = log(map.flat()).filter(v => v !== null), high = Math.max(...values), low = Math.max(Math.min(...values), high - 8);
    return { some: values.length > 0, tint: v => (v === null || v <= 0 ? RAMP[0] : ramp((Math.log10(v) - low) / (high - low || 1))), colours: RAMP,
      ends: [`${number(10 ** low)} or less`, `${number(10 ** high)}, by the logarithm`] };
  }
  // map: a list of values for each of `rows`, one for each of `columns`; down, across: what these are; value: what is drawn;
  // at: what else is told of a column; pick: what a click on a row does.
  function heat(into, { title, map, rows, columns, down, across, value, colours = logarithmically(map), at = () => "", pick = null }) {
    if (!colours.some) { into.append(el("p", { class: "soft" }, `${title}: nothing to draw.`)); return; }
    const canvas = el("canvas", { class: "heat", width: columns.length, height: rows.length, tabindex: 0, role: "img", "data-chart": title,
      "aria-label": `${title}: ${value} at ${rows.length} places of ${down} and ${columns.length} of ${across}; arrow keys move the place that is told below` });
    const mark = el("div", { class: "mark", hidden: "" }), told = el("p", { class: "soft told", "aria-live": "polite" }, `Point at the map, or move with the arrow keys.${pick ? " A click or Enter chooses." : ""}`);
    const pen = canvas.getContext("2d"), image = pen.createImageData(columns.length, rows.length);
    map.forEach((row, i) => row.forEach((v, j) => image.data.set([...colours.tint(v), 255], 4 * (i * columns.length + j))));
    pen.putImageData(image, 0, 0);
    let place = [0, 0];
    const tell = (i, j) => {
      place = [Math.min(Math.max(i, 0), rows.length - 1), Math.min(Math.max(j, 0), columns.length - 1)];
      told.textContent = `${value} = ${number(map[place[0]][place[1]])}: ${down} ${rows[place[0]]}, ${across} ${columns[place[1]]}${at(place[1])}`;
      mark.hidden = false;
      Object.assign(mark.style, { top: `${100 * place[0] / rows.length}%`, height: `${100 / rows.length}%`, left: `${100 * place[1] / columns.length}%`, width: `${100 / columns.length}%` });
    };
    const point = event => {
      const box = canvas.getBoundingClientRect();
      tell(Math.floor((event.clientY - box.top) / box.height * rows.length), Math.floor((event.clientX - box.left) / box.width * columns.length));
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", event => { point(event); if (pick) pick(place[0]); });
    canvas.addEventListener("keydown", event => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (move) { event.preventDefault(); tell(place[0] + move[0], place[1] + move[1]); }
      if (event.key === "Enter" && pick) pick(place[0]);
    });
    const ends = (names, about, kind) => el("div", { class: `ends ${kind}`, "aria-hidden": "true" }, el("span", {}, String(names[0])), el("span", {}, about), el("span", {}, String(names.at(-1))));
    into.append(el("div", { class: "u-title" }, title), el("div", { class: "map" }, ends(rows, down, "down"), el("div", { class: "field" }, canvas, mark), ends(columns, across, "across")), told, scale(colours));
  }
  const rgb = c => `rgb(${c.join(",")})`;
  function scale({ colours, ends }) {
    const bar = el("span", { class: "scale", "aria-hidden": "true" });
    bar.style.background = `linear-gradient(90deg, ${colours.map(rgb).join(",")})`;
    return el("p", { class: "soft" }, ends[0], bar, ends[1]);
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
  const since = test => symbols => { let n = 0; return symbols.map(s => (!symbols.some(test) || test(s) ? (n = 0) : (n += s.length || 1))); };
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
  const BLUE = [58, 124, 214], WHITE = [255, 255, 255], RED = [217, 83, 79];
  // The colours of a unit's or a layer's values: white is 0 where they lie around it, else their middle.
  function diverging(values) {
    const known = values.filter(v => v !== null), low = Math.min(...known), high = Math.max(...known), centre = low < 0 && high > 0 ? 0 : (low + high) / 2;
    const most = Math.max(high - centre, centre - low) || 1;
    const tint = v => { const share = Math.max(-1, Math.min(1, (v - centre) / most)), end = share < 0 ? BLUE : RED; return end.map(c => Math.round(255 + (c - 255) * Math.abs(share))); };
    return { some: known.length > 0, tint: v => (v === null || v === undefined ? WHITE : tint(v)), colours: [BLUE, WHITE, RED], ends: [number(centre - most), number(centre + most)] };
  }
  function units(panel, { symbols, layers, inputs }) {
    const all = layers.flatMap(layer => [...layer.activity].sort((a, b) => b.state - a.state).map(one => ({ name: `${one.name}, ${layer.short}`, numbers: one.values.units, values: unpacked(one.values) })))
      .filter(one => one.values.length && one.values[0].length);
    if (!all.length) return;
    const row = el("div", { class: "choices" }), found = el("div", { class: "found", "aria-live": "polite" }), shown = el("div"), map = el("div"), place = el("span");
    const words = symbols.filter(s => s.length > 1).length > symbols.length / 2;  // of letters, too, one may be "<s>"
    const spans = symbols.map((s, t) => el("span", { "data-step": t }, s === "\n" ? "⏎\n" : s, ...(words ? [" "] : [])));
    const text = el("div", { class: "text", tabindex: 0, role: "group", "data-chart": "text", "aria-label": "The text, each step coloured by the unit's value" }, ...spans);
    const told = el("p", { class: "soft told" }, "Point at the text."), section = part, at = t => (symbols[t] === undefined ? "" : ` “${symbols[t]}”`);
    let [k, unit, mark, wanted] = [-1, 0, null, ""], select;
    const value = choice(row, "Value", all.map(one => one.name), index => go(index, 0));
    row.append(place);
    panel.append(row, found, ...(spans.length ? [text, told] : []), shown, map);
    text.addEventListener("pointerover", event => { const t = event.target.dataset.step; if (t !== undefined) told.textContent = `${all[k].name}, unit ${all[k].numbers[unit]} at step ${t}${at(t)}: ${number(all[k].values[unit][t])}`; });
    function go(newK, newUnit) {
      const other = k !== newK, { name, numbers, values } = all[newK];
      [k, unit, part] = [newK, newUnit, section];
      if (other) {
        value.value = k;
        place.replaceChildren();
        map.replaceChildren();
        select = choice(place, "Unit", numbers.map(u => `unit ${u}`), index => go(k, index));
        heat(map, { title: `every unit of ${name}`, map: values, rows: numbers, columns: range(values[0].length), down: "unit", across: "step", value: name, colours: diverging(values.flat()), at, pick: index => go(k, index) });
      }
      select.value = unit;
      const own = values[unit], colours = diverging(own), title = `${name}, unit ${numbers[unit]}`;
      spans.forEach((span, t) => { span.style.backgroundColor = own[t] === null || own[t] === undefined ? "" : rgb(colours.tint(own[t])); });
      shown.replaceChildren(...(spans.length ? [scale(colours)] : []));
      const [low, high] = [Math.min(...own.filter(v => v !== null)), Math.max(...own.filter(v => v !== null))];
      const over = mark ? [{ name: `${wanted}, scaled`, y: scaled(mark, low, high), dash: [3, 3], level: true }] : [];
      lines(shown, { title, x: range(own.length), label: "step", across: "step", series: [{ name: "value", y: own }, ...over], alone: true });
      if (inputs.length) lines(shown, { title: "what came in", x: range(inputs[0].length), label: "step", across: "step", series: inputs.map((y, i) => ({ name: `input ${i}`, y })), alone: true });
      for (const button of found.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === `${k} ${unit}`));
    }
    if (symbols.length) search();
    go(0, 0);

    function search() {
      const id = `search-${++count}`, field = el("input", { id, type: "search", placeholder: "quotes, spaces, or any text", autocomplete: "off" });
      const presets = Object.entries(PATTERNS).filter(([, pattern]) => varies(pattern(symbols))).map(([name]) => el("button", { type: "button", class: "preset" }, name));
      const tell = linked("search", text => { if (field.isConnected) { field.value = text; rank(text); } });
      const ask = text => { rank(text); tell(text); };
      field.addEventListener("input", () => ask(field.value));
      for (const button of presets) button.addEventListener("click", () => ask(field.value = button.textContent));
      row.append(el("label", { for: id }, "Find units that follow", field));
      row.after(el("div", { class: "presets", role: "group", "aria-label": "Patterns of this text" }, ...presets));
      function rank(text) {
        found.replaceChildren();
        [mark, wanted] = [null, text];
        if (text) {
          const pattern = PATTERNS[text.trim().toLowerCase()] || inside(s => s.includes(text)), own = pattern(symbols);
          if (varies(own)) mark = own;
          else found.append("The text shown has none of this, or nothing else.");
        }
        if (!mark) { go(k, unit); return; }
        const ranked = all.flatMap((one, i) => one.values.map((values, u) => [correlation(values, mark), i, u])).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 8);
        for (const [r, i, u] of ranked) {
          const button = el("button", { type: "button", value: `${i} ${u}` }, `${all[i].name}, unit ${all[i].numbers[u]}: ${r < 0 ? "−" : "+"}${Math.abs(r).toFixed(2)}`);
          button.addEventListener("click", () => go(i, u));
          found.append(button);
        }
        go(ranked[0][1], ranked[0][2]);
      }
    }
  }
  const varies = values => values.some(v => v !== values[0]);
  function scaled(values, low, high) {
    const least = Math.min(...values), most = Math.max(...values);
    return values.map(v => low + (v - least) / (most - least) * (high - low));
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
    if (all.length) chooser(panel, ["Matrix", all.map(([name]) => name), true], (place, k) => circle(place, all[k][0], all[k][1].eigen, all[k][1].radius));
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
  const table = (head, rows, kind = "") => el("div", { class: `scroll ${kind}`, tabindex: 0, role: "group", "aria-label": "A table" }, el("table", {},
    el("thead", {}, el("tr", {}, ...head.map(name => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows.map(row => el("tr", {}, ...row.map(cell => el("td", cell.startsWith("  ") ? { class: "inner" } : {}, cell.trim())))))));

  // --- several models, and while they learned ------------------------------------------------------------------------
  // [[name, x, y, colour, dash]] as series over one x.
  function joined(curves) {
    const x = [...new Set(curves.flatMap(([, own]) => own))].sort((a, b) => a - b);
    return { x, series: curves.map(([name, own, y, stroke, dash]) => { const at = new Map(own.map((v, i) => [v, y[i]])); return { name, y: x.map(v => at.get(v) ?? null), stroke, dash }; }) };
  }
  const DASHES = [undefined, [6, 3], [2, 2], [8, 3, 2, 3]];
  function sideBySide(panel) {
    const [head, ...rows] = compared;
    const left = el("div", {}, table(head, rows, "sides")), right = el("div"), places = [right, rows.length > 24 ? right : left, right];
    panel.append(el("div", { class: "panels" }, left, right));
    const curves = (x, y) => reports.flatMap((report, i) => report.networks.flatMap(network => network.layers.map((layer, k) =>
      [named(report, network.name, layer.short), x(layer), y(layer), i, DASHES[k % DASHES.length]])));
    lines(places[0], { title: "gain by lag", ...joined(curves(layer => layer.lags, layer => layer.gain)), label: "lag", across: "lag k, steps", logarithmic: true, level: ["1 %", 0.01], spanGaps: true });
    lines(places[1], { title: "gradient flow, ∂L/∂h", ...joined(curves(layer => layer.steps, layer => Object.values(layer.states)[0].mean)), label: "step", across: "step", logarithmic: true, spanGaps: true });
    const learnt = reports.flatMap((report, i) => report.learning.map((one, k) => [named(report, one.network, one.short), one.at, one.memory, i, DASHES[k % DASHES.length]]));
    if (learnt.length) lines(places[2], { title: "effective memory while it learned", ...joined(learnt), label: "training step", across: "step of training", spanGaps: true });
  }
  function learning(panel, all) {
    const { x, series } = joined(all.map((one, k) => [one.title, one.at, one.memory, k]));
    lines(panel, { title: "effective memory", x, series, label: "training step", across: "step of training", spanGaps: true });
    const kinds = [["gradient by step", "gradient", "steps", "step", "‖∂L/∂h‖"], ["gain by lag", "gain", "lags", "lag", "gain"]];
    chooser(panel, ["Layer", all.map(one => one.title)], ["Figure", kinds.map(([name]) => name)], (place, k, kind) => {
      const one = all[k], [name, figure, places, down, value] = kinds[kind], some = [...new Set([0, 0.25, 0.5, 0.75, 1].map(s => Math.round(s * (one[places].length - 1))))];
      lines(place, { title: `${name}, against training`, x: one.at, label: "training step", across: "step of training", logarithmic: true,
        series: some.map(i => ({ name: `${down} ${one[places][i]}`, y: one[figure].map(row => row[i]) })) });
      heat(place, { title: `${name}, at every look`, map: one[places].map((_, i) => one[figure].map(row => row[i])), rows: one[places], columns: one.at, down, across: "training step", value });
    });
  }

  function draw() {
    for (const { observer } of drawn) observer.disconnect();
    drawn = [];
    groups = new Map();
    links = new Map();
    document.getElementById("page").replaceChildren();
    verdicts();
    if (several) section("Side by side", "What differs: a column for each model, and the curves of all of them in one chart. The definitions stand at the sections below. A colour is a model; further layers are dashed.", sideBySide, [{ name: "", item: null }]);
    else section("Layers", "One line for each layer: the gradient at the first and the last step, the effective memory in steps (+: to the end of the data), the gain's factor a step, the spectral radius of the step Jacobian, the largest Lyapunov exponent, the share of saturated values and the dead units.",
      (panel, network) => panel.append(el("p", { class: "soft" }, network.title), table(network.head, network.rows)));
    section("Gradient flow", "‖∂L/∂s_t‖ of each state s at each step t, over the sequences of the batch: all that the value touches, through the outputs and the later steps. A line that falls to the left is a gradient that vanishes on its way back; one that rises explodes. ∂L/∂x is the gradient at the network's input.", flow);
    section("While it learned", "What training logged with --diagnose N, on one fixed batch: the gradient at each step of the sequences, the gain by lag and the effective memory, at every look. A memory that grows is a network that learns to hold on.", learning,
      reports.filter(report => report.learning.length).map(report => ({ name: several ? report.name : "", item: report.learning })));
    section("What each step adds to the weights' gradients", "‖[∂L/∂W]_t‖: what the use of W at step t adds to its gradient. Where only the last steps add, only they are learned from.", shares);
    section("Memory", "The gain at lag k: the mean of ‖∂h_t/∂s_{t−k}‖/√H, 1 at lag 0. The effective memory is the largest lag up to which it stays above 1 %.", memory);
    section("Sensitivity", "S[t, s] = ‖∂y_t/∂x_s‖, the mean over the sequences: how much the output at step t hangs on the input at step s, through all layers.", (panel, { sensitivity: { map, ends, from } }) =>
      heat(panel, { title: "sensitivity", map, rows: ends, columns: from, down: "output at step", across: "input at step", value: "‖∂y/∂x‖" }));
    section("Eigenvalues", "Of what each state brings into each map of the cell, and of J_t = ∂s_t/∂s_{t−1} along the data. Inside the circle a direction fades, outside it grows.", eigenvalues);
    section("Spectra", "Singular values say how much one step can stretch or shrink; Lyapunov exponents are the mean logarithmic growth a step over the data, below 0 where neighbouring states come together.", spectra);
    section("Gates and units", "Each gate, state and named value of the cell over the batch. Near an end: within 0.05 of it, without the end at which the gate keeps the state. The slope is the mean derivative of the function, beside its largest. Dead: variance below 1e-6.", activity);
    section("Units over the data", "The values of one unit over the first steps of the longest sequence, from blue (low) to red (high). The search ranks the units of all values by the correlation with a pattern: quotes, brackets, line position, word position, spaces, line ends, digits, capitals, punctuation, position, or any text that a step holds. Kept are the units that vary most, to 1/254 of the range.", units);
  }
  if (reports.length > 2) document.documentElement.style.setProperty("--least", "24rem");
  document.title = `elman diagnose: ${reports.map(report => report.name).join(", ")}`;
  draw();
  dark.addEventListener("change", draw);
})();
