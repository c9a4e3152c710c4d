// What the caches are worth: hits by tier, and the waiting, the bytes and the money that they saved.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import { Away, Refused } from "./client";
import type { Cost, Executions, Savings as Figures, Sum } from "./contract";
import { texts } from "./i18n";
import { meterStyles } from "./meter";
import { money } from "./units";

const TIERS = ["vram", "ram", "ssd"] as const;
const EVERY_MS = 15_000;

export class Savings extends Part {
  static override properties = { ...Part.properties, cost: { state: true }, runs: { state: true } };
  declare cost: Cost | undefined;
  declare runs: Executions | undefined;
  private timer: number | undefined;

  static override styles = [
    Part.styles,
    meterStyles,
    css`
      :host {
        display: block;
      }
      .rate {
        display: flex;
        align-items: baseline;
        gap: 8px;
      }
      .rate strong {
        font-size: 20px;
        font-weight: 600;
      }
      .hits {
        display: flex;
        height: 12px;
        margin: 4px 0 6px;
        border-radius: 4px;
        overflow: hidden;
        background: var(--ms-track);
      }
      .hits > div {
        background: var(--colour);
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 12px;
        font-size: 12px;
      }
      .legend li {
        display: flex;
        align-items: center;
        gap: 5px;
      }
      .dot {
        width: 8px;
        height: 8px;
        border-radius: 50%;
        background: var(--colour);
      }
      table {
        width: 100%;
        margin-top: 10px;
        border-collapse: collapse;
      }
      th {
        font-weight: 400;
        text-align: start;
        color: var(--ms-muted);
      }
      th,
      td {
        padding: 3px 0;
        border-top: 1px solid var(--ms-line);
      }
      thead th {
        border-top: 0;
        font-size: 12px;
      }
      td,
      thead th + th {
        text-align: end;
      }
      .cost {
        margin-top: 10px;
        font-size: 12px;
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    this.timer = window.setInterval(() => void this.ask(), EVERY_MS);
    void Promise.resolve().then(() => this.ask());
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.clearInterval(this.timer);
  }

  private async ask(): Promise<void> {
    if (this.feed.phase === "closed" || this.feed.phase === "away" || !this.checkVisibility()) return;
    try {
      [this.cost, this.runs] = await Promise.all([this.feed.client.cost(), this.feed.client.executions()]);
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error; // the feed says it
    }
  }

  private hits(savings: Figures): TemplateResult {
    const parts = [...TIERS.map((tier) => [tier, savings.hits[tier] ?? 0] as const), ["missed", savings.misses] as const];
    const all = parts.reduce((sum, [, count]) => sum + count, 0);
    if (!all || savings.hit_rate === null) return html`<p class="muted">${this.t("savings.noLoads")}</p>`;
    const colour = (tier: string) => (tier === "missed" ? "var(--ms-bucket)" : `var(--ms-${tier})`);
    const label = (tier: string) => (tier === "missed" ? this.t("savings.missed") : this.t(`tier.${tier}`));
    return html`<p class="rate"><strong>${this.percent(savings.hit_rate)}</strong><span class="muted">${this.t("savings.hitRate")}</span></p>
      <div class="hits" aria-hidden="true">
        ${parts.map(([tier, count]) => html`<div style="--colour: ${colour(tier)}; width: ${(100 * count) / all}%"></div>`)}
      </div>
      <ul class="legend">
        ${parts
          .filter(([, count]) => count)
          .map(([tier, count]) => html`<li><span class="dot" style="--colour: ${colour(tier)}"></span>${label(tier)} ${this.number(count)}</li>`)}
      </ul>`;
  }

  private saved(savings: Figures): TemplateResult | typeof nothing {
    if (!savings.total.bytes && !savings.total.seconds) return nothing;
    const priced = [savings.today, savings.week, savings.total].some((sum) => sum.money !== null);
    const cash = (sum: Sum) => (sum.money === null ? "–" : money(texts.locale, sum.money, savings.currency));
    const row = (key: string, sum: Sum) =>
      html`<tr>
        <th scope="row">${this.t(`savings.${key}`)}</th>
        <td>${this.duration(sum.seconds)}</td>
        <td>${this.bytes(sum.bytes)}</td>
        ${priced ? html`<td>${cash(sum)}</td>` : nothing}
      </tr>`;
    return html`<table>
      <thead>
        <tr>
          <th scope="col">${this.t("savings.saved")}</th>
          <th scope="col">${this.t("savings.waiting")}</th>
          <th scope="col">${this.t("savings.traffic")}</th>
          ${priced ? html`<th scope="col">${this.t("savings.money")}</th>` : nothing}
        </tr>
      </thead>
      <tbody>${row("today", savings.today)}${row("week", savings.week)}${row("total", savings.total)}</tbody>
    </table>`;
  }

  private spent(cost: Cost | undefined): TemplateResult | typeof nothing {
    if (!cost || cost.today === null) return nothing;
    const cash = (value: number) => money(texts.locale, value, cost.currency);
    const said = [this.t("savings.costToday", { money: cash(cost.today) })];
    if (cost.projected_month !== null) said.push(this.t("savings.costMonth", { money: cash(cost.projected_month) }));
    if (cost.per_execution !== null) said.push(this.t("savings.costRun", { money: cash(cost.per_execution) }));
    return html`<p class="cost muted">${said.join(" · ")}</p>`;
  }

  private timings(runs: Executions | undefined): TemplateResult | typeof nothing {
    if (!runs?.percentiles) return nothing;
    const { p50_s, p95_s, p99_s } = runs.percentiles;
    const said = { p50: this.duration(p50_s), p95: this.duration(p95_s), p99: this.duration(p99_s) };
    return html`<p class="cost muted">${this.n("savings.runs", runs.count, said)}</p>`;
  }

  protected override render() {
    const savings = this.feed.status?.savings;
    if (!savings) return nothing;
    return html`${this.hits(savings)}${this.saved(savings)}${this.spent(this.cost)}${this.timings(this.runs)}`;
  }
}

define("modelstream-savings", Savings);
