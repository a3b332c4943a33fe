/* Brings the still figures of notebooks/explainers.py to life.
 *
 * The data lie in the page as JSON (symlib/plots/interactive.py). Nothing is fetched, nothing is computed but
 * positions and colours. A still figure goes only when all that takes its place has been built.
 */
(() => {
  "use strict";

  const SVG = "http://www.w3.org/2000/svg";
  // Nine stops of matplotlib's PuOr_r: zero in the middle, costs orange, savings purple.
  const COSTS = ["#2d004b", "#542788", "#8073ac", "#b2abd2", "#f7f7f7", "#fdb863", "#e08214", "#b35806", "#7f3b08"];

  /* Elements */

  function make(tag, attributes = {}, ...children) {
    return filled(document.createElement(tag), attributes, children);
  }

  function draw(tag, attributes = {}, ...children) {
    return filled(document.createElementNS(SVG, tag), attributes, children);
  }

  function filled(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  let counted = 0;
  const fresh = () => `explainer-${(counted += 1)}`;

  /** A group of radio buttons; calls `chosen` with the index of the one that is on. */
  function choice(title, names, start, swatches, chosen) {
    const group = fresh();
    const options = names.map((name, index) => {
      const button = make("input", { type: "radio", name: group, value: index });
      button.checked = index === start;
      button.addEventListener("change", () => chosen(index));
      return make("label", {}, button, ...(swatches ? [swatch(index)] : []), name);
    });
    return make("fieldset", { class: "ex-choice" }, make("legend", {}, title), ...options);
  }

  function swatch(index) {
    const stroke = draw("line", { x1: 1, x2: 27, y1: 5, y2: 5, class: `ex-curve ex-series-${index}` });
    return draw("svg", { viewBox: "0 0 28 10", width: 28, height: 10, "aria-hidden": "true" }, stroke);
  }

  /** A slider over indices; `moved` gets the index and returns what a screen reader says of it. */
  function slider(title, count, start, moved) {
    const id = fresh();
    const input = make("input", { type: "range", id, min: 0, max: count - 1, step: 1, value: start });
    const update = () => input.setAttribute("aria-valuetext", moved(Number(input.value)));
    input.addEventListener("input", update);
    return { node: make("div", { class: "ex-slider" }, make("label", { for: id }, title), input), update };
  }

  /* Numbers and colours */

  const short = (value) => (Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2)).replace("-", "−");
  const largest = (matrix) => Math.max(...matrix.flat().map(Math.abs)) || 1;

  function colour(value, limit) {
    const place = ((Math.max(-1, Math.min(1, value / limit)) + 1) / 2) * (COSTS.length - 1);
    const from = Math.min(Math.floor(place), COSTS.length - 2);
    const part = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
    const mix = (at) => Math.round(part(COSTS[from], at) + (place - from) * (part(COSTS[from + 1], at) - part(COSTS[from], at)));
    return `rgb(${mix(1)}, ${mix(3)}, ${mix(5)})`;
  }

  function scaleOfCosts(limit) {
    return [
      make("span", {}, short(-limit)),
      make("span", { class: "ex-ramp", style: `background: linear-gradient(to right, ${COSTS.join(", ")})` }),
      make("span", {}, short(limit)),
    ];
  }

  /** A square image of numbers, with a dot on some of its cells. */
  function picture(values, side, paint, dots, title) {
    const cells = values.map((value, index) =>
      draw("rect", { x: index % side, y: Math.floor(index / side), width: 1.02, height: 1.02, fill: paint(value) }),
    );
    const marks = dots.map((index) =>
      draw("circle", { cx: (index % side) + 0.5, cy: Math.floor(index / side) + 0.5, r: 0.14, class: "ex-dot" }),
    );
    const view = { viewBox: `0 0 ${side} ${side}`, class: "ex-picture", role: "img", "aria-label": title };
    return draw("svg", view, ...cells, ...marks);
  }

  /* A matrix of neurons by neurons: hover, tap, or move by arrow keys. */

  function grid(size, title, chosen) {
    const node = make("div", { class: "ex-grid", role: "grid", "aria-label": title });
    node.style.gridTemplateColumns = `1.4em repeat(${size}, minmax(0, 1fr))`;
    const heads = Array.from({ length: size }, (_, j) => make("span", { role: "columnheader" }, j + 1));
    node.append(make("div", { role: "row" }, make("span", { role: "columnheader", "aria-label": "neuron" }), ...heads));
    const cells = Array.from({ length: size }, (_, i) => {
      const row = Array.from({ length: size }, (_, j) => cell(i, j));
      node.append(make("div", { role: "row" }, make("span", { role: "rowheader" }, i + 1), ...row));
      return row;
    });

    function cell(i, j) {
      const one = make("div", { role: "gridcell", tabindex: -1 });
      one.addEventListener("pointerenter", () => chosen(i, j));
      one.addEventListener("click", () => one.focus());
      one.addEventListener("focus", () => chosen(i, j));
      one.addEventListener("keydown", (event) => {
        const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        const to = { Home: [i, 0], End: [i, size - 1] }[event.key] || (step && [i + step[0], j + step[1]]);
        if (!to) return;
        event.preventDefault();
        cells[to[0]]?.[to[1]]?.focus();
      });
      return one;
    }

    let at = null;
    return {
      node,
      paint(values, limit, say) {
        values.forEach((row, i) =>
          row.forEach((value, j) => {
            cells[i][j].style.backgroundColor = colour(value, limit);
            cells[i][j].setAttribute("aria-label", say(i, j, value));
          }),
        );
      },
      select(i, j) {
        if (at) filled(at, { tabindex: -1, "aria-selected": "false" }, []);
        at = filled(cells[i][j], { tabindex: 0, "aria-selected": "true" }, []);
      },
    };
  }

  /* 1. Swap costs */

  function swaps(data) {
    const last = data.networks.length - 1;
    let network = data.networks[last];
    let [first, second] = data.pair;
    const ramp = make("p", { class: "ex-legend" });
    const about = make("div", { class: "ex-about" });
    const table = grid(network.swap.length, "Swap costs, signed root; arrow keys move", (i, j) => {
      [first, second] = [i, j];
      show();
    });

    function change(index) {
      network = data.networks[index];
      const limit = largest(network.swap);
      table.paint(network.swap, limit, (i, j, value) => `neurons ${i + 1} and ${j + 1}: ${short(value)}`);
      ramp.replaceChildren(...scaleOfCosts(limit), make("span", {}, "signed root of swap cost"));
      show();
    }

    function show() {
      table.select(first, second);
      const [i, j] = [first, second];
      const limit = largest(network.weights);
      const images = (i === j ? [i] : [i, j]).map((neuron) => weights(neuron, limit));
      about.replaceChildren(make("div", { class: "ex-row" }, ...images), sentence(i, j), ...(i === j ? [] : [costs(i, j)]));
    }

    function weights(neuron, limit) {
      const pinned = network.pinned[neuron];
      const title = `Incoming weights of neuron ${neuron + 1}, ${data.side} by ${data.side}, ${pinned.length} of them pinned`;
      const image = picture(network.weights[neuron], data.side, (value) => colour(value, limit), pinned, title);
      return make("div", { class: "ex-image" }, image, make("span", {}, `neuron ${neuron + 1}`));
    }

    function sentence(i, j) {
      if (i === j) return make("p", {}, `Neuron ${i + 1} pays ${short(network.cost[i][i])} for what it computes.`);
      const c = network.cost;
      const swap = Math.sign(network.swap[i][j]) * network.swap[i][j] ** 2;
      return make("p", {}, `Exchanging what ${i + 1} and ${j + 1} compute costs ${short(swap)}`
        + ` (signed root ${short(network.swap[i][j])}): what they would pay, ${short(c[i][j] + c[j][i])},`
        + ` less what they pay, ${short(c[i][i] + c[j][j])}.`);
    }

    function costs(i, j) {
      const c = network.cost;
      const most = Math.max(c[i][i], c[i][j], c[j][i], c[j][j]) || 1;
      const row = (realiser, target) => {
        const bar = make("span", { class: "ex-bar", style: `width: ${(100 * c[realiser][target]) / most}%` });
        const who = `neuron ${realiser + 1}, ` + (realiser === target ? "its own function" : `the function of ${target + 1}`);
        return make("tr", {}, make("th", { scope: "row" }, who), make("td", {}, short(c[realiser][target])), make("td", {}, bar));
      };
      const caption = make("caption", {}, "Realization costs");
      return make("table", { class: "ex-costs" }, caption, make("tbody", {}, row(i, i), row(i, j), row(j, j), row(j, i)));
    }

    const names = data.networks.map((one) => one.label);
    const hint = make("p", { class: "ex-hint" }, "Point at a pair, tap it, or move with the arrow keys. Dots mark pinned weights.");
    const left = make("div", { class: "ex-main" }, table.node, ramp);
    change(last);
    return [choice("Network", names, last, false, change), hint, make("div", { class: "ex-sides" }, left, about)];
  }

  /* 2. A line between two networks */

  const CHART = { width: 320, height: 170, left: 42, right: 10, top: 12, bottom: 34 };

  /** Curves over lambda with a marker on each. */
  function chart(title, lambdas, series) {
    const { width, height, left, right, top, bottom } = CHART;
    const [low, high] = [Math.min(...series.flat()), Math.max(...series.flat())];
    const x = (value) => left + value * (width - left - right);
    const y = (value) => height - bottom - ((value - low) / (high - low || 1)) * (height - top - bottom);
    const curves = series.map((values, index) => {
      const points = values.map((value, k) => `${x(lambdas[k]).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
      return draw("polyline", { points, class: `ex-curve ex-series-${index}` });
    });
    const guide = draw("line", { y1: top, y2: height - bottom, class: "ex-guide" });
    const marks = series.map((_, index) => draw("circle", { r: 4, class: `ex-mark ex-series-${index}` }));
    const text = (at, down, words, anchor) => draw("text", { x: at, y: down, "text-anchor": anchor }, words);
    const labels = [
      ...[low, high].map((value) => text(left - 5, y(value) + 4, short(value), "end")),
      ...[0, 0.5, 1].map((value) => text(x(value), height - bottom + 15, value, "middle")),
      text((left + width) / 2, height - 4, "λ", "middle"),
    ];
    const frame = draw("path", { d: `M${left} ${top}V${height - bottom}H${width - right}`, class: "ex-frame" });
    const view = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title, class: "ex-chart" };
    return {
      node: make("div", {}, make("p", { class: "ex-title" }, title), draw("svg", view, frame, ...labels, guide, ...curves, ...marks)),
      mark(step, chosen) {
        filled(guide, { x1: x(lambdas[step]), x2: x(lambdas[step]) }, []);
        marks.forEach((mark, index) => filled(mark, { cx: x(lambdas[step]), cy: y(series[index][step]) }, []));
        [...curves, ...marks].forEach((part, index) => part.classList.toggle("ex-on", index % series.length === chosen));
      },
    };
  }

  function line(data) {
    let chosen = 0;
    let step = Math.floor(data.lambdas.length / 2);
    const losses = chart("Test loss (nats)", data.lambdas, data.methods.map((method) => method.loss));
    const percent = data.methods.map((method) => method.accuracy.map((share) => 100 * share));
    const accuracies = chart("Test accuracy (%)", data.lambdas, percent);
    const digits = data.images.map((image, n) => digit(image, data.labels[n]));
    const said = make("p", { class: "ex-said" });

    function show() {
      const method = data.methods[chosen];
      losses.mark(step, chosen);
      accuracies.mark(step, chosen);
      digits.forEach((one, n) => one.show(method.probability[n][step]));
      const words = `λ = ${data.lambdas[step].toFixed(2)}: loss ${short(method.loss[step])},`
        + ` accuracy ${percent[chosen][step].toFixed(1)} %`;
      said.textContent = `${method.label}, ${words}`;
      return words;
    }

    const control = slider("λ, from the first network to the second", data.lambdas.length, step, (value) => {
      step = value;
      return show();
    });
    const methods = choice("Networks", data.methods.map((method) => method.label), chosen, true, (index) => {
      chosen = index;
      control.update();
    });
    control.update();
    const charts = make("div", { class: "ex-sides" }, losses.node, accuracies.node);
    const hint = make("p", { class: "ex-hint" }, "Class probabilities of some test digits, by the network at λ:");
    return [methods, control.node, said, charts, hint, make("div", { class: "ex-digits" }, ...digits.map((one) => one.node))];
  }

  /** A digit and a bar for each class; the right class has a frame, a wrong answer says so in words. */
  function digit(image, label) {
    const grey = (value) => `rgb(${Array(3).fill(Math.round(255 - (value * 255) / 16)).join(", ")})`;
    const shown = picture(image, Math.sqrt(image.length), grey, [], `A test digit, a ${label}`);
    const bars = Array.from({ length: 10 }, (_, k) => draw("rect", { x: 10 * k + 1.5, width: 7, class: k === label ? "ex-right" : "ex-wrong" }));
    const names = bars.map((_, k) => draw("text", { x: 10 * k + 5, y: 59, "text-anchor": "middle" }, k));
    const chances = draw("svg", { viewBox: "0 0 100 61", class: "ex-chances", role: "img" }, ...bars, ...names);
    const answer = make("span", {});
    return {
      node: make("div", { class: "ex-digit" }, shown, answer, chances),
      show(percent) {
        const best = percent.indexOf(Math.max(...percent));
        percent.forEach((value, k) => filled(bars[k], { y: 50 - value / 2, height: value / 2 }, []));
        answer.textContent = best === label ? `${best} ✓` : `${best} ✗, is ${label}`;
        const words = percent.map((value, k) => `${k}: ${value} %`).join(", ");
        chances.setAttribute("aria-label", `Class probabilities of a ${label}: ${words}`);
      },
    };
  }

  /* 3. The scale of the constants */

  function scale(data) {
    const m = data.centre.length;
    const limit = Math.max(...data.swap.map(largest));
    const reach = 1.05 * Math.max(...data.centre.map((centre, i) => edge(centre, data.S[i])), ...data.S.map((S) => edge([0, 0], S)));
    const said = make("p", { class: "ex-said" });
    const title = "What each neuron can realise at cost 1, and what two runs realise";
    const view = { viewBox: `${-reach} ${-reach} ${2 * reach} ${2 * reach}`, class: "ex-plane", role: "img", "aria-label": title };
    const plane = draw("svg", view);
    const cells = make("tbody");

    function show(step) {
      const sigma = data.scales[step];
      const centres = data.centre.map((one) => one.map((value) => sigma * value));
      const axes = draw("path", { d: `M${-reach} 0H${reach}M0 ${-reach}V${reach}`, class: "ex-axes" });
      plane.replaceChildren(axes, ...centres.map((centre, i) => realisable(i, centre)), ...centres.map(number));
      cells.replaceChildren(...data.swap[step].map(costsOf));
      const pairs = data.swap[step].flatMap((row, i) => row.slice(i + 1));
      const words = `σ_F = ${sigma.toFixed(2)}: the cheapest exchange costs ${short(Math.min(...pairs))} (signed root);`
        + ` costs match ${data.matched[step]} of ${m} neurons of the second run with themselves`;
      said.textContent = `${words}.`;
      return words;
    }

    // Upwards is negative in a drawing.
    const place = ([x, y]) => `${x.toFixed(3)} ${(-y).toFixed(3)}`;

    function realisable(i, centre) {
      const outline = draw("path", { d: `M${ellipse(centre, data.S[i]).map(place).join("L")}Z`, class: "ex-class" });
      const arrows = data.learnt.map((run, r) => {
        const end = [centre[0] + run[i][0], centre[1] + run[i][1]];
        const stroke = draw("path", { d: `M${place(centre)}L${place(end)}`, class: `ex-run-${r}` });
        const tip = draw("circle", { cx: end[0], cy: -end[1], r: reach / 55, class: `ex-run-${r}` });
        return draw("g", {}, stroke, tip);
      });
      const dot = draw("circle", { cx: centre[0], cy: -centre[1], r: reach / 80, class: "ex-centre" });
      return draw("g", { class: `ex-neuron-${i}` }, outline, ...arrows, dot);
    }

    /** The neuron's number, where its outline lies farthest in the direction in which its centre moves. */
    function number(centre, i) {
      const along = ([x, y]) => x * data.centre[i][0] + y * data.centre[i][1];
      const [x, y] = ellipse(centre, data.S[i]).reduce((best, point) => (along(point) > along(best) ? point : best));
      return draw("text", { x, y: -y, "font-size": reach / 9, "text-anchor": "middle", dy: "0.35em", class: "ex-number" }, i + 1);
    }

    function costsOf(row, i) {
      const numbers = row.map((value) => {
        const cell = make("td", {}, value.toFixed(1).replace("-", "−"));
        cell.style.backgroundColor = colour(value, limit);
        cell.style.color = Math.abs(value) > 0.6 * limit ? "#fff" : "#000";
        return cell;
      });
      return make("tr", {}, make("th", { scope: "row" }, i + 1), ...numbers);
    }

    const heads = data.centre.map((_, i) => make("th", { scope: "col" }, i + 1));
    const caption = make("caption", {}, "Signed root of swap costs, first run");
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "neuron"), ...heads));
    const table = make("table", { class: "ex-matrix" }, caption, head, cells);
    const control = slider("σ_F, scale of the constants", data.scales.length, 0, show);
    control.update();
    const hint = make("p", { class: "ex-hint" }, "Dots: centres. Solid lines to full circles: the first run; dashed lines to open circles: the second.");
    return [control.node, said, make("div", { class: "ex-sides" }, make("div", {}, plane, hint), table)];
  }

  /** Points a with (a - centre)^T S^-1 (a - centre) = 1, by a triangular root of S = (S_11, S_12, S_22). */
  function ellipse(centre, [a, b, c]) {
    const root = [Math.sqrt(a), b / Math.sqrt(a), Math.sqrt(Math.max(0, c - (b * b) / a))];
    return Array.from({ length: 90 }, (_, k) => {
      const [cos, sin] = [Math.cos((k * Math.PI) / 45), Math.sin((k * Math.PI) / 45)];
      return [centre[0] + root[0] * cos, centre[1] + root[1] * cos + root[2] * sin];
    });
  }

  function edge(centre, S) {
    return largest(ellipse(centre, S));
  }

  /* The page */

  function enliven(section) {
    const build = { swaps, line, scale }[section.dataset.kind];
    const figure = document.getElementById(section.dataset.figure);
    section.append(...build(JSON.parse(section.querySelector("script").textContent)));
    section.setAttribute("aria-label", figure.querySelector("img").alt);
    figure.prepend(section);
    figure.classList.add("ex-alive");
    section.hidden = false;
  }

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll(".explainer").forEach(enliven));
})();
