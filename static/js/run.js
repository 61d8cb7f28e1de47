// The live curves of a run, and of others that are shown with it: fetches new points every two seconds while a run is under
// way, and draws them with uPlot. Which lines stand on one axis the page says (data-line, data-name). The moving text above
// is htmx's work. Colours come from the page's variables, so light and dark need nothing here.
"use strict";

(() => {
  const box = document.getElementById("curves");
  if (!box || !window.uPlot) return;
  const more = document.getElementById("more-curves");
  const empty = document.getElementById("curve-empty");
  const table = document.querySelector("#curve-table tbody");
  const announcer = document.getElementById("run-announcer");
  const runs = [...box.querySelectorAll("[data-run]")].map((mark) => ({
    number: mark.dataset.run,
    url: mark.dataset.url,
    points: new Map(),
    after: 0,
    failures: 0,
  }));
  const byNumber = new Map(runs.map((run) => [run.number, run]));
  const charts = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const figure = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(document.documentElement.lang, { maximumSignificantDigits: 4 }));
  const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(100 * value)} %`);
  // Short enough for the axis: 12k, 0.0003, 1e-5.
  const tick = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential().replace("e-", "e−") : Intl.NumberFormat(document.documentElement.lang, { notation: "compact", maximumSignificantDigits: 4 }).format(value));

  const axis = () => ({
    stroke: () => colour("--muted"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
  });

  function linesOf(holder) {
    return [...holder.querySelectorAll("[data-line]")]
      .map((mark) => ({ run: byNumber.get(mark.dataset.line), ...mark.dataset }))
      .filter((line) => line.run && [...line.run.points.values()].some((point) => typeof point[line.name] === "number"));
  }

  function makeChart(holder, lines) {
    return new uPlot(
      {
        width: Math.max(200, holder.clientWidth),
        height: 210,
        scales: { x: { time: false }, y: "share" in holder.dataset ? { range: [0, 1] } : {} },
        legend: { live: true },
        axes: [axis(), { ...axis(), size: 58, values: (_, ticks) => ticks.map(tick) }],
        series: [
          { label: box.dataset.unit },
          ...lines.map((line) => ({
            label: line.label,
            stroke: () => colour(line.colour),
            width: 2,
            // A look comes every so many steps: its points are shown, where one alone would draw no line.
            points: { show: [...line.run.points.values()].filter((point) => typeof point[line.name] === "number").length < 30, size: 5 },
            spanGaps: true,
            value: (_, value) => ("share" in holder.dataset ? percent(value) : figure(value)),
          })),
        ],
      },
      [[], ...lines.map(() => [])],
      holder,
    );
  }

  function draw() {
    for (const holder of box.querySelectorAll(".curve")) {
      const lines = linesOf(holder);
      holder.hidden = lines.length === 0;
      const drawn = charts.get(holder);
      if (drawn && drawn.count !== lines.length) {
        drawn.chart.destroy();
        charts.delete(holder);
      }
      if (lines.length === 0) continue;
      if (!charts.has(holder)) charts.set(holder, { chart: makeChart(holder, lines), count: lines.length });
      const steps = [...new Set(lines.flatMap((line) => [...line.run.points.keys()]))].sort((a, b) => a - b);
      charts.get(holder).chart.setData([steps, ...lines.map((line) => steps.map((step) => line.run.points.get(step)?.[line.name]))]);
    }
    more.hidden = !more.querySelector(".curve:not([hidden])");
    empty.hidden = runs[0].points.size > 0;
    fillTable([...runs[0].points.values()].sort((a, b) => a.step - b.step));
  }

  function fillTable(rows) {
    const stride = Math.ceil(rows.length / 25) || 1;
    const shown = rows.filter((_, place) => place % stride === 0 || place === rows.length - 1);
    table.replaceChildren(
      ...shown.map((row) => {
        const line = document.createElement("tr");
        for (const text of [row.step, figure(row.loss), percent(row.accuracy), figure(row.margin), percent(row.heldout)]) {
          const cell = document.createElement("td");
          cell.className = "number";
          cell.textContent = text;
          line.append(cell);
        }
        return line;
      }),
    );
  }

  async function look(run) {
    let active = true;
    try {
      const answer = await fetch(`${run.url}?after=${run.after}`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const news = await answer.json();
      for (const point of news.points) run.points.set(point.step, { ...run.points.get(point.step), ...point });
      if (news.points.length > 0) draw();
      run.after = news.after;
      active = news.active;
      run.failures = 0;
    } catch {
      // A restart of the site is no reason to stop looking, but not twice a second for ever either.
      run.failures += 1;
    }
    if (active) setTimeout(look, Math.min(2000 * 2 ** run.failures, 30000), run);
  }

  // What a screen reader hears: the state when it changes, not every step.
  let told = "";
  new MutationObserver(() => {
    const state = document.querySelector("#run-live .run-state .badge");
    if (state && state.textContent !== told) announcer.textContent = told = state.textContent;
  }).observe(document.getElementById("run-live"), { childList: true, subtree: true });

  // Also when a summary is opened: what is folded away has no width to draw in.
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const width = target.clientWidth;
      if (width > 0) charts.get(target)?.chart.setSize({ width, height: 210 });
    }
  });
  box.querySelectorAll(".curve").forEach((holder) => sizes.observe(holder));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ chart }) => chart.redraw(false)));

  runs.forEach(look);
})();
