// @ts-check
/** Time series and histograms by uPlot, in the colours of the theme. */

import uPlot from "../vendor/uplot.js";
import { html, useEffect, useRef } from "../vendor/preact.js";

const COLOURS = ["--step-fold", "--step-log", "--step-push", "--step-publish", "--step-paint"];

/** Formats of the time axis by the distance of its marks, in seconds: 24 hours, as in the rest of the console. */
const TIMES = [
  [86_400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

/** Returns the value of a colour token as the browser resolves it. */
function colour(/** @type {string} */ token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/**
 * @typedef {{label: string, values: (number | null)[], format?: (value: number) => string}} Series
 */

/**
 * @param {{label: string, x: number[], series: Series[], isTime?: boolean, isBars?: boolean, height?: number,
 *   xLabel?: string, xFormat?: (value: number) => string, cursorAt?: number | null}} props `x` in seconds since 1970 for
 *   time, else any number; the label says to those who can't see it what is drawn
 */
export function Chart({ label, x, series, isTime = true, isBars = false, height = 180, xLabel = "", xFormat }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const shape = JSON.stringify([series.map((one) => one.label), isTime, isBars, height]);
  const theme = document.documentElement.dataset.theme;
  useEffect(() => {
    const element = place.current;
    if (element === null) return undefined;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(element.clientWidth, { series, isTime, isBars, height, xLabel, xFormat }), [x, ...series.map(({ values }) => values)], element);
    };
    make();
    const sized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    sized.observe(element);
    dark.addEventListener("change", make);
    return () => {
      sized.disconnect();
      dark.removeEventListener("change", make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, theme]);
  useEffect(() => {
    plot.current?.setData([x, ...series.map(({ values }) => values)]);
  }, [x, series]);
  return html`<div class="chart" role="img" aria-label=${label} ref=${place}></div>`;
}

/**
 * @param {number} width
 * @param {any} chart
 */
function optionsOf(width, { series, isTime, isBars, height, xLabel, xFormat }) {
  const [ink, line] = [colour("--muted"), colour("--line")];
  const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui" };
  return {
    width,
    height,
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: isTime }, y: { range: (/** @type {any} */ _, /** @type {number} */ low, /** @type {number} */ high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.08 : 1] } },
    axes: [
      { ...axis, ...(isTime ? { values: TIMES, space: 72 } : {}), ...(xFormat ? { values: (/** @type {any} */ _, /** @type {number[]} */ at) => at.map(xFormat) } : {}) },
      { ...axis, size: 56 },
    ],
    series: [
      isTime ? { value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" } : { label: xLabel, value: (/** @type {any} */ _, /** @type {number} */ at) => (at === null || at === undefined ? "–" : (xFormat ?? String)(at)) },
      ...series.map((/** @type {Series} */ one, /** @type {number} */ at) => {
        const stroke = colour(COLOURS[at % COLOURS.length]);
        return {
          ...{ label: one.label, stroke, width: 2, spanGaps: false, points: { show: isBars ? false : undefined } },
          value: (/** @type {any} */ _, /** @type {number} */ value) => (value === null || value === undefined ? "–" : (one.format ?? String)(value)),
          ...(isBars ? { fill: stroke, paths: uPlot.paths.bars({ size: [0.8, 60] }) } : {}),
        };
      }),
    ],
  };
}
