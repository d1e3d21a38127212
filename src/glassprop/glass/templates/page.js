"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { columns, stages, steps } = data;
  const last = columns.length - 1;
  const svg = document.getElementById("network"), panel = document.getElementById("panel");
  const state = { stage: 0, step: 0, chosen: null };
  const SVG = "http://www.w3.org/2000/svg";

  const make = (name, attributes, parent, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  };
  const largest = (numbers) => Math.max(...numbers.flat(Infinity).map(Math.abs)) || 1;
  const sign = (value) => (value < 0 ? "negative" : "positive");

  // What a stage shows: of neurons h, δ or the step of the bias; of weights their value, gradient or step.
  const SHOWN = {
    forward: { node: "h", edge: "old", letter: "h", text: "in the neurons h; thickness: weight" },
    loss: { node: "h", edge: "old", letter: "h", text: "in the neurons h; thickness: weight" },
    backward: { node: "delta", edge: "gradient", letter: "δ", text: "in the neurons δ; thickness: gradient" },
    update: { node: "step", edge: "step", letter: "Δb", text: "in the neurons the step of the bias; thickness: step of the weight" },
    result: { node: "h", edge: "new", letter: "h", text: "in the neurons h before the step; thickness: new weight" },
  };

  // --- drawing: everything once for a width, then only what changes with the stage ---

  let nodes, edges, heads, loss, thickest;
  function draw() {
    const width = Math.max(svg.clientWidth || svg.parentElement.clientWidth, 280), narrow = width < 520;
    const most = Math.max(...columns.map((column) => column.nodes.length));
    const box = { width: narrow ? 50 : 64, height: most > 7 ? 36 : 40 };
    const gap = box.height + (most > 7 ? 8 : most > 4 ? 16 : narrow ? 40 : 64), top = 44, lossBox = narrow ? 48 : 70;
    const height = top + (most - 1) * gap + box.height + (columns.some((column) => column.more) ? 34 : 18);
    const left = box.width / 2 + 2, right = width - box.width / 2 - lossBox - (narrow ? 10 : 40);
    const x = (c) => left + (c * (right - left)) / last;
    const y = (c, n) => top + box.height / 2 + ((most - columns[c].nodes.length) * gap) / 2 + n * gap;
    svg.classList.toggle("narrow", narrow);
    thickest = (most > 4 ? 3 : 5) * (narrow ? 0.8 : 1);
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    edges = []; nodes = []; heads = [];
    const labels = make("g", {});
    for (let l = 1; l <= last; l++) {
      columns[l - 1].nodes.forEach((_, i) => columns[l].nodes.forEach((_, j) => {
        const few = columns[l - 1].nodes.length <= 4 && columns[l].nodes.length <= 4;
        const [x1, y1, x2, y2] = [x(l - 1) + box.width / 2, y(l - 1, i), x(l) - box.width / 2, y(l, j)], bend = (x2 - x1) * (few ? 0 : 0.35);
        const d = `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`;
        const group = make("g", { class: "edge", "data-go": `e-${l}-${i}-${j}` }, svg);
        const seen = make("path", { d, class: "seen" }, group);
        make("path", { d, class: "hit" }, group);
        const label = few && x2 - x1 > 60 ? make("text", { class: "weight" }, labels) : null;
        edges.push({ l, i, j, group, seen, label, line: [x1, y1, x2, y2] });
      }));
    }
    svg.append(labels);  // above all lines
    columns.forEach((column, c) => {
      drawHead(column, c, x(c));
      column.nodes.forEach(([letter, sub, name], n) => drawNode(c, n, x(c), y(c, n), box, letter, sub, name));
      if (column.more) make("text", { x: x(c), y: height - 4, class: "name" }, svg, `+ ${column.more} more`);
    });
    loss = make("g", { class: "loss", "data-go": "loss", tabindex: 0, role: "button" }, svg);
    const middle = top + box.height / 2 + ((most - 1) * gap) / 2, center = width - lossBox / 2 - 1;
    make("rect", { x: width - lossBox, y: middle - 22, width: lossBox - 2, height: 44, rx: 10 }, loss);
    make("text", { x: center, y: middle - 6, class: "letter" }, loss, "loss ℓ");
    loss.value = make("text", { x: center, y: middle + 12 }, loss);
  }
  function drawHead(column, c, x) {
    const group = make("g", { class: "head" }, svg);
    if (c) for (const [key, value] of Object.entries({ "data-go": `layer-${c}`, tabindex: 0, role: "button" })) group.setAttribute(key, value);
    make("rect", { x: x - 36, y: 0, width: 72, height: 36 }, group);
    make("text", { x, y: 14 }, group, column.title);
    if (column.about) make("text", { x, y: 30 }, group, column.about.replace("_", " "));
    heads.push(group);
  }
  function drawNode(c, n, x, y, box, letter, sub, name) {
    const group = make("g", { class: "node", "data-go": `n-${c}-${n}`, tabindex: 0, role: "button" }, svg);
    const place = { x: x - box.width / 2, y: y - box.height / 2, width: box.width, height: box.height, rx: 10 };
    make("rect", { ...place, class: "back" }, group);
    const tint = make("rect", place, group);
    const under = make("text", { x, y: y - 5, class: "letter" }, group);
    const value = make("text", { x, y: y + 12, class: "value" }, group);
    const target = c === last ? make("text", { x, y: y + box.height / 2 + 12, class: "name" }, group) : null;
    if (name) make("title", {}, group, name);
    nodes.push({ c, n, group, tint, value, under, target, letter, sub, name });
  }

  // --- showing a stage ---

  function show() {
    const stage = stages[state.stage], step = steps[state.step], { phase, layer } = stage, shown = SHOWN[phase];
    document.body.dataset.phase = phase;
    document.getElementById("stage").textContent = `${state.stage + 1} of ${stages.length}: ${stage.title}`;
    document.getElementById("meaning").textContent = shown.text;
    document.getElementById("back").disabled = state.stage === 0;
    document.getElementById("next").disabled = state.stage === stages.length - 1;
    for (const button of document.querySelectorAll("[data-phase-button]")) {
      if (button.dataset.phaseButton === phase) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    }
    const name = document.getElementById("step-name");
    if (name) name.textContent = step.name;
    showNodes(phase, layer, shown, step);
    showEdges(phase, layer, shown, step);
    heads.forEach((head, c) => head.classList.toggle("now", c > 0 && c === layer));
    loss.classList.toggle("off", phase === "forward");
    loss.value.textContent = phase === "forward" ? "" : phase === "result" ? step.after : step.loss;
    loss.setAttribute("aria-label", `Loss: ${loss.value.textContent || "not yet known"}`);
    panel.innerHTML = step.panels[state.chosen || stage.panel];
  }
  function showNodes(phase, layer, shown, step) {
    const scale = step.values[shown.node].map((column) => largest(column));
    for (const node of nodes) {
      const { c, n } = node, input = c === 0;
      const known = phase === "forward" ? c <= layer : phase === "backward" ? c >= layer : true;
      const kind = input ? "h" : phase === "backward" && !known ? "h" : shown.node;
      const value = step.values[kind][c][n], text = step.shown[kind][c][n];
      const filled = phase === "forward" ? known : phase === "backward" ? known && !input : !(input && phase === "update");
      const size = Math.abs(value) / (kind === shown.node ? scale[c] : largest(step.values[kind][c]));
      const opacity = filled ? 0.12 + 0.75 * size : 0;
      node.group.classList.toggle("off", !filled);
      node.group.classList.toggle("now", c === layer && !input);
      node.group.classList.toggle("strong", opacity > 0.55);
      node.tint.setAttribute("class", sign(value));
      node.tint.setAttribute("fill-opacity", opacity);
      node.value.textContent = phase === "forward" && !known ? "" : text;
      node.value.classList.toggle("long", text.length > 7);
      const letter = input ? "x" : kind === "h" ? "h" : shown.letter;
      node.under.replaceChildren(letter);
      make("tspan", { class: "sub", dy: 3 }, node.under, node.sub);
      if (node.target) node.target.textContent = phase === "loss" ? `target ${step.targets[n]}` : "";
      const said = node.value.textContent ? text : "not yet known";
      node.group.setAttribute("aria-label", `${input ? "Input" : c === last ? "Output" : "Neuron"} ${letter} ${node.sub}${node.name ? `, ${node.name}` : ""}: ${said}`);
      node.group.setAttribute("aria-pressed", state.chosen === `n-${c}-${n}`);
    }
  }
  function showEdges(phase, layer, shown, step) {
    const scale = step.edges[shown.edge].map((weights) => largest(weights)), labelled = [];
    for (const { l, i, j, group, seen, label, line } of edges) {
      const value = step.edges[shown.edge][l - 1][i][j], size = Math.abs(value) / scale[l - 1];
      const here = phase === "forward" || phase === "backward" ? l === layer : phase !== "loss";
      const past = phase === "forward" ? l < layer : phase === "backward" ? l > layer : true;
      seen.setAttribute("class", `seen ${sign(value)}`);
      seen.setAttribute("stroke-width", value === 0 ? 0.6 : 0.6 + thickest * size);
      seen.setAttribute("opacity", here ? 0.35 + 0.6 * size : past ? 0.22 : 0.1);
      if (label) label.textContent = here && step.weights[shown.edge][l - 1].length ? step.weights[shown.edge][l - 1][i][j] : "";
      if (label && label.textContent) labelled.push({ label, line, size });
      group.classList.toggle("chosen", state.chosen === `e-${l}-${i}-${j}`);
    }
    placeLabels(labelled);
  }

  // Along its line each label goes where it is clear of those placed before, the largest weights first; without room it is left out.
  const ALONG = [0.3, 0.5, 0.7, 0.4, 0.6, 0.2, 0.8];
  function placeLabels(labelled) {
    const taken = [];
    for (const { label, line: [x1, y1, x2, y2] } of labelled.sort((a, b) => b.size - a.size)) {
      const width = label.getComputedTextLength() + 6, height = 14;
      const places = ALONG.map((at) => ({ x: x1 + at * (x2 - x1), y: y1 + at * (y2 - y1) - 4, width }));
      const place = places.find(({ x, y }) => x - width / 2 >= x1 && x + width / 2 <= x2
        && taken.every((other) => Math.abs(other.x - x) >= (other.width + width) / 2 || Math.abs(other.y - y) >= height));
      if (!place) { label.textContent = ""; continue; }
      taken.push(place);
      label.setAttribute("x", place.x);
      label.setAttribute("y", place.y);
    }
  }

  // --- stepping and choosing ---

  function go(stage) {
    state.stage = Math.min(Math.max(stage, 0), stages.length - 1);
    if (state.chosen && !/^[ne]-/.test(state.chosen)) state.chosen = null;
    show();
  }
  function choose(name) {
    state.chosen = name;
    if (name && /^layer-/.test(name)) {
      const phase = stages[state.stage].phase === "backward" ? "backward" : "forward";
      state.stage = stages.findIndex((stage) => stage.phase === phase && stage.panel === name);
      state.chosen = null;
    }
    if (name === "loss") { state.stage = stages.findIndex((stage) => stage.phase === "loss"); state.chosen = null; }
    show();
  }
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-go]"), phase = event.target.closest("[data-phase-button]");
    if (target) choose(target.dataset.go);
    else if (phase) {
      if (state.chosen && !/^[ne]-/.test(state.chosen)) state.chosen = null;
      go(stages.findIndex((stage) => stage.phase === phase.dataset.phaseButton));
    } else if (event.target.closest("#back")) go(state.stage - 1);
    else if (event.target.closest("#next")) go(state.stage + 1);
    else if (event.target.closest("svg")) choose(null);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") go(state.stage + 1);
    else if (event.key === "ArrowLeft") go(state.stage - 1);
    else if (event.key === "Escape") choose(null);
    else if ((event.key === "Enter" || event.key === " ") && event.target.closest("svg [data-go]")) {
      choose(event.target.closest("[data-go]").dataset.go);
    } else return;
    event.preventDefault();
  });
  const slider = document.getElementById("step");
  if (slider) slider.addEventListener("input", () => { state.step = Number(slider.value); show(); });
  let width = 0;
  new ResizeObserver(() => {
    if (svg.parentElement.clientWidth === width) return;
    width = svg.parentElement.clientWidth;
    draw();
    show();
  }).observe(svg.parentElement);
})();
