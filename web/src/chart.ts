// uPlot, dressed: colours from the panel's own tokens at drawing time (so that a change of theme only redraws), times on the
// x axis, bytes on the y axis, and marks along the bottom.

import uPlot from "uplot";
import uplotStyles from "uplot/dist/uPlot.min.css";
import { css, unsafeCSS } from "lit";
import { texts } from "./i18n";
import { bytes, clock } from "./units";

export interface Line {
  label: string;
  /** a CSS custom property, "--ms-ram" */
  colour: string;
  filled?: boolean;
}

export interface Drawing {
  times: number[];
  lines: (number | null)[][];
  /** times of evictions */
  marks: number[];
}

const HEIGHT_PX = 104;

export const chartStyles = [
  unsafeCSS(uplotStyles),
  css`
    .chart {
      height: ${HEIGHT_PX}px;
      overflow: hidden;
    }
  `,
];

/** Resolves a custom property to a colour that a canvas takes. */
function colours(element: HTMLElement): (property: string, alpha?: number) => string {
  const probe = document.createElement("span");
  probe.hidden = true;
  element.append(probe);
  return (property, alpha = 1) => {
    probe.style.color = alpha === 1 ? `var(${property})` : `color-mix(in srgb, var(${property}) ${alpha * 100}%, transparent)`;
    return getComputedStyle(probe).color;
  };
}

export class Chart {
  private readonly plot: uPlot;
  private marks: number[] = [];
  private readonly resized: ResizeObserver;

  constructor(
    place: HTMLElement,
    lines: Line[],
    unit: "bytes" | "rate",
    read: (time: number | null, values: (number | null)[]) => void,
  ) {
    const colour = colours(place);
    const value = (amount: number) => bytes(texts.locale, amount) + (unit === "rate" ? "/s" : "");
    const axis = { stroke: () => colour("--ms-muted"), font: "11px Inter, system-ui, sans-serif", ticks: { show: false } };
    const grid = { stroke: () => colour("--ms-line"), width: 1 };
    this.plot = new uPlot(
      {
        width: Math.max(120, place.clientWidth),
        height: HEIGHT_PX,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high, 1) * 1.05] } },
        axes: [
          { ...axis, grid: { show: false }, size: 22, space: 70, values: (_plot, ticks) => ticks.map((tick) => this.tick(tick)) },
          { ...axis, grid, size: 62, space: 28, values: (_plot, ticks) => ticks.map((tick) => (tick ? value(tick) : "0")) },
        ],
        series: [
          {},
          ...lines.map((line) => ({
            label: line.label,
            stroke: () => colour(line.colour),
            width: 1.5,
            points: { show: false },
            ...(line.filled ? { fill: () => colour(line.colour, 0.2) } : {}),
          })),
        ],
        hooks: {
          draw: [(plot) => this.drawMarks(plot, colour("--ms-bad"))],
          setCursor: [
            (plot) => {
              const at = plot.cursor.idx;
              if (at === null || at === undefined) read(null, []);
              else read(plot.data[0][at] ?? null, plot.data.slice(1).map((values) => values[at] ?? null));
            },
          ],
        },
      },
      [[], ...lines.map(() => [])] as unknown as uPlot.AlignedData,
      place,
    );
    this.resized = new ResizeObserver(() => this.plot.setSize({ width: Math.max(120, place.clientWidth), height: HEIGHT_PX }));
    this.resized.observe(place);
  }

  show(drawing: Drawing): void {
    this.marks = drawing.marks;
    this.plot.setData([drawing.times, ...drawing.lines] as uPlot.AlignedData);
  }

  redraw(): void {
    this.plot.redraw();
  }

  destroy(): void {
    this.resized.disconnect();
    this.plot.destroy();
  }

  private tick(time: number): string {
    const times = this.plot.data[0];
    const span = (times.at(-1) ?? 0) - (times[0] ?? 0);
    if (span > 2 * 86400) return new Intl.DateTimeFormat(texts.locale, { day: "numeric", month: "short" }).format(time * 1000);
    return clock(texts.locale, time).replace(/(\d+:\d+):\d+/, "$1");
  }

  /** A small triangle on the x axis for each eviction. */
  private drawMarks(plot: uPlot, colour: string): void {
    const { ctx: context, bbox } = plot;
    const size = 4 * devicePixelRatio;
    const bottom = bbox.top + bbox.height;
    context.save();
    context.fillStyle = colour;
    for (const time of this.marks) {
      const x = plot.valToPos(time, "x", true);
      context.beginPath();
      context.moveTo(x, bottom - 2 * size);
      context.lineTo(x + size, bottom);
      context.lineTo(x - size, bottom);
      context.fill();
    }
    context.restore();
  }
}
