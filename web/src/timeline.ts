// Time lines: what came over the wire, how full the tiers were, when something was evicted; and below it what happened, in words.

import { css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Part, define, remember, remembered } from "./element";
import { Chart, chartStyles, type Drawing, type Line } from "./chart";
import { Away, Refused } from "./client";
import type { Event, Series } from "./contract";
import { eventText, isNoise, isProblem } from "./event-text";
import { texts } from "./i18n";
import { bytes, clock } from "./units";

const SPANS = ["10m", "6h", "30d"] as const;
const EVERY_MS = { "10m": 2000, "6h": 10_000, "30d": 60_000 };
const TIERS = ["vram", "ram", "ssd"] as const;
const NAMES = ["wire_bytes", "rate_bytes_per_s", ...TIERS.map((tier) => `${tier}_used_bytes`), ...TIERS.map((tier) => `evictions_${tier}`)].join(",");
const SHOWN = 40;
type Span = (typeof SPANS)[number];
type Kinds = "all" | "evict" | "load" | "problem";

/**
 * Every step of the span: a sum that says nothing is 0, a gauge holds until its next point.
 *
 * The rate is what was measured while bytes came.  A transfer too short to be measured counts with its bytes, which are told when
 * it ends; those of a measured one are not told again.
 */
export function drawn(answer: Series): { times: number[]; rate: number[]; used: (number | null)[][]; marks: number[] } {
  const { from_s: from, step_s: step } = answer;
  const count = Math.max(2, Math.floor((answer.to_s - from) / step) + 1);
  const times = Array.from({ length: count }, (_, at) => from + at * step);
  const place = (time: number) => Math.min(count - 1, Math.max(0, Math.round((time - from) / step)));
  const rate = held(count, answer.series["rate_bytes_per_s"]?.points ?? [], place).map((value) => value ?? 0);
  const measured = rate.map((value, at) => value > 0 || (rate[at - 1] ?? 0) > 0);
  for (const [time, sum] of answer.series["wire_bytes"]?.points ?? []) if (!measured[place(time)]) rate[place(time)] = sum / step;
  const used = TIERS.map((tier) => held(count, answer.series[`${tier}_used_bytes`]?.points ?? [], place));
  const marks = TIERS.flatMap((tier) => (answer.series[`evictions_${tier}`]?.points ?? []).filter(([, n]) => n > 0).map(([time]) => time));
  return { times, rate, used, marks };
}

function held(count: number, points: readonly (readonly [number, number])[], place: (time: number) => number): (number | null)[] {
  const line = new Array<number | null>(count).fill(null);
  for (const [time, value] of points) line[place(time)] = value;
  for (let at = 1; at < count; at += 1) line[at] ??= line[at - 1] ?? null;
  return line;
}

export class Timeline extends Part {
  static override properties = {
    ...Part.properties,
    theme: {},
    span: { state: true },
    kinds: { state: true },
    readout: { state: true },
    peak: { state: true },
  };
  declare theme: string;
  declare span: Span;
  declare kinds: Kinds;
  declare readout: string;
  declare peak: number;
  private charts: Chart[] = [];
  private timer: number | undefined;
  private isSeen = false;
  private readonly seen = new IntersectionObserver((entries) => {
    this.isSeen = entries.at(-1)?.isIntersecting ?? false;
    if (this.isSeen) void this.ask();
  });

  static override styles = [
    Part.styles,
    ...chartStyles,
    css`
      :host {
        display: block;
      }
      .bar {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 6px;
        margin-bottom: 6px;
      }
      .spans {
        display: flex;
      }
      .spans button {
        border-radius: 0;
        border-inline-start-width: 0;
      }
      .spans button:first-child {
        border-start-start-radius: 6px;
        border-end-start-radius: 6px;
        border-inline-start-width: 1px;
      }
      .spans button:last-child {
        border-start-end-radius: 6px;
        border-end-end-radius: 6px;
      }
      .spans button[aria-pressed="true"] {
        background: var(--ms-hover);
        color: var(--ms-fg);
        font-weight: 600;
      }
      .readout {
        min-height: 17px;
        font-size: 12px;
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 0 10px;
        margin: 8px 0 2px;
        font-size: 12px;
        font-weight: 400;
        color: var(--ms-muted);
      }
      .legend .key {
        display: inline-flex;
        align-items: center;
        gap: 4px;
      }
      .legend i {
        width: 10px;
        height: 3px;
        border-radius: 2px;
        background: var(--colour);
      }
      .legend i.mark {
        width: 0;
        height: 0;
        border-radius: 0;
        background: none;
        border: 4px solid transparent;
        border-top: 0;
        border-bottom: 7px solid var(--ms-bad);
      }
      ol {
        max-height: 260px;
        overflow-y: auto;
        border-top: 1px solid var(--ms-line);
      }
      li {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 0 8px;
        padding: 3px 0;
        font-size: 12px;
        overflow-wrap: anywhere;
      }
      .events {
        display: flex;
        align-items: center;
        margin: 10px 0 4px;
      }
      .events select {
        margin-inline-start: auto;
      }
      @container (min-width: 900px) {
        .halves {
          display: grid;
          grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
          gap: 24px;
        }
        .events {
          margin-top: 0;
        }
      }
    `,
  ];

  constructor() {
    super();
    this.span = remembered<Span>("span", "10m");
    this.kinds = "all";
    this.readout = "";
    this.peak = 0;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.seen.observe(this);
    this.repeat();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.seen.disconnect();
    window.clearInterval(this.timer);
    for (const chart of this.charts) chart.destroy();
    this.charts = [];
  }

  private lines(): Line[][] {
    const tiers = TIERS.map((tier) => ({ label: this.t(`tier.${tier}`), colour: `--ms-${tier}` }));
    return [[{ label: this.t("timeline.rate"), colour: "--ms-bucket", filled: true }], tiers];
  }

  protected override updated(changes: PropertyValues): void {
    if (!this.charts.length) {
      const places = [...this.renderRoot.querySelectorAll<HTMLElement>(".chart")];
      const lines = this.lines();
      this.charts = places.map((place, at) => new Chart(place, lines[at] ?? [], at ? "bytes" : "rate", (time, values) => this.read(at, time, values)));
      void this.ask();
    }
    if (changes.has("theme")) for (const chart of this.charts) chart.redraw();
  }

  private repeat(): void {
    window.clearInterval(this.timer);
    this.timer = window.setInterval(() => void this.ask(), EVERY_MS[this.span]);
  }

  private choose(span: Span): void {
    this.span = span;
    remember("span", span);
    this.repeat();
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (!this.isSeen || this.feed.phase !== "live") return;
    try {
      const answer = await this.feed.client.series(this.span, NAMES);
      if (answer.span !== this.span) return;
      const { times, rate, used, marks } = drawn(answer);
      this.peak = Math.max(...rate);
      const drawings: Drawing[] = [
        { times, lines: [rate], marks },
        { times, lines: used, marks },
      ];
      this.charts.forEach((chart, at) => chart.show(drawings[at] as Drawing));
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error; // the feed says it
    }
  }

  private read(chart: number, time: number | null, values: (number | null)[]): void {
    if (time === null) {
      this.readout = "";
      return;
    }
    const at = this.span === "30d" ? new Intl.DateTimeFormat(texts.locale, { dateStyle: "short", timeStyle: "short" }).format(time * 1000) : clock(texts.locale, time);
    const said = values.map((value, index) => {
      if (value === null) return "";
      const amount = bytes(texts.locale, value) + (chart ? "" : "/s");
      return chart ? `${this.t(`tier.${TIERS[index] ?? ""}`)} ${amount}` : amount;
    });
    this.readout = [at, ...said.filter(Boolean)].join(" · ");
  }

  private events(): TemplateResult {
    const wanted = (event: Event) =>
      this.kinds === "all" ? true : this.kinds === "problem" ? isProblem(event) : this.kinds === "evict" ? event.kind === "evict" : ["load", "transfer"].includes(event.kind);
    const shown = this.feed.events.filter((event) => wanted(event) && !isNoise(event)).slice(-SHOWN).reverse();
    return html`<div class="events">
        <span class="muted">${this.t("timeline.events")}</span>
        <select aria-label=${this.t("timeline.kinds")} @change=${(event: InputEvent) => (this.kinds = (event.target as HTMLSelectElement).value as Kinds)}>
          ${(["all", "load", "evict", "problem"] as const).map((kind) => html`<option value=${kind}>${this.t(`timeline.kind.${kind}`)}</option>`)}
        </select>
      </div>
      ${shown.length
        ? html`<ol tabindex="0" aria-label=${this.t("timeline.events")}>
            ${shown.map(
              (event) => html`<li data-kind=${event.kind}>
                <time class="muted">${clock(texts.locale, event.at_s)}</time><span class=${isProblem(event) ? "bad" : ""}>${eventText(event)}</span>
              </li>`,
            )}
          </ol>`
        : html`<p class="muted">${this.t("timeline.quiet")}</p>`}`;
  }

  protected override render() {
    const evictions = this.feed.status?.totals["evictions"] ?? 0;
    const spoken = this.t("timeline.spoken", { peak: `${this.bytes(this.peak)}/s`, evictions: this.number(evictions) });
    const key = (line: Line) => html`<span class="key"><i style="--colour: var(${line.colour})"></i>${line.label}</span>`;
    const [rate, tiers] = this.lines();
    return html`<div class="bar">
        <span class="spans" role="group" aria-label=${this.t("timeline.span")}>
          ${SPANS.map((span) => html`<button type="button" aria-pressed=${span === this.span} @click=${() => this.choose(span)}>${this.t(`timeline.${span}`)}</button>`)}
        </span>
        <span class="readout muted">${this.readout}</span>
      </div>
      <div class="halves">
      <div><p class="legend">${(rate ?? []).map(key)}<span class="key"><i class="mark"></i>${this.t("timeline.eviction")}</span></p>
      <div class="chart" role="img" aria-label=${spoken}></div>
      <p class="legend">${(tiers ?? []).map(key)}</p>
      <div class="chart" role="img" aria-label=${this.t("timeline.tiers")}></div></div>
      <div>${this.events()}</div></div>${nothing}`;
  }
}

define("modelstream-timeline", Timeline);
