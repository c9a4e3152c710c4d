// One model of the table: everything known of it, the actions of a single tier, and what would have to go to make room.

import { css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Part, define } from "./element";
import { reasonOf } from "./actions";
import { Away, Refused } from "./client";
import type { FitAnswer, RoomPlan, Row, TierName } from "./contract";
import { canAsk, fitText } from "./fit";
import { glyph } from "./glyphs";
import { visible } from "./units";

export class Details extends Part {
  static override properties = { ...Part.properties, row: { attribute: false }, plan: { state: true }, fit: { state: true }, problem: { state: true } };
  declare row: Row;
  declare plan: RoomPlan | undefined;
  declare fit: FitAnswer | undefined;
  declare problem: string | undefined;

  static override styles = [
    Part.styles,
    css`
      :host {
        display: block;
        margin-top: 10px;
        padding: 10px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
      }
      .title {
        display: flex;
        align-items: flex-start;
        gap: 6px;
      }
      .title bdi {
        flex: 1;
        font-weight: 600;
        overflow-wrap: anywhere;
      }
      dl {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 2px 12px;
        margin: 6px 0 10px;
        font-size: 12px;
      }
      dt {
        color: var(--ms-muted);
      }
      dd {
        overflow-wrap: anywhere;
      }
      .buttons {
        display: flex;
        flex-wrap: wrap;
        gap: 6px;
      }
      .plan {
        margin-top: 10px;
        font-size: 12px;
      }
      .plan li {
        display: flex;
        gap: 8px;
      }
      .plan li span:last-child {
        margin-inline-start: auto;
        white-space: nowrap;
      }
    `,
  ];

  protected override willUpdate(changes: PropertyValues): void {
    super.willUpdate(changes);
    const before = changes.get("row") as Row | undefined;
    if (before && before.digest !== this.row.digest) this.plan = this.fit = this.problem = undefined;
  }

  private async askFit(): Promise<void> {
    const asked = this.row.digest;
    try {
      const answer = await this.feed.client.estimate(asked);
      if (asked !== this.row.digest) return;
      this.fit = answer;
      this.problem = undefined;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.problem = reasonOf(error);
    }
  }

  private fitting(answer: FitAnswer): TemplateResult {
    const { verdict, estimate } = answer;
    const tone = verdict.kind === "no" ? "bad" : verdict.kind === "offload" || verdict.kind === "unknown" ? "warn" : "";
    const facts = [estimate.architecture ?? this.t("fit.noArchitecture"), ...(estimate.loaded_bytes ? [this.t("fit.loaded", { size: this.bytes(estimate.loaded_bytes) })] : [])];
    return html`<p class="plan ${tone}" data-fit=${verdict.kind}>${fitText(verdict)}<br /><span class="muted">${facts.join(" · ")}</span></p>`;
  }

  private async askPlan(tier: "ssd" | "ram"): Promise<void> {
    try {
      this.plan = await this.feed.client.plan(tier, this.row.digest);
      this.problem = undefined;
    } catch (error) {
      if (!(error instanceof Away || error instanceof Refused)) throw error;
      this.problem = reasonOf(error);
    }
  }

  private room(plan: RoomPlan): TemplateResult {
    const tier = this.t(`tier.${plan.tier}`);
    if (!plan.enough) return html`<p class="plan warn">${this.t("plan.noRoom", { tier })}</p>`;
    if (!plan.going.length) return html`<p class="plan muted">${this.t("plan.fits", { tier, free: this.bytes(plan.free_bytes) })}</p>`;
    return html`<div class="plan">
      <p>${this.t("plan.goes", { tier })}</p>
      <ul>
        ${plan.going.map((one) => html`<li><bdi class="name">${visible(one.name)}</bdi><span class="muted">${this.bytes(one.size_bytes)}</span></li>`)}
      </ul>
    </div>`;
  }

  private facts(): [string, string][] {
    const row = this.row;
    const never = this.t("models.never");
    const tiers = row.tiers.map((one) => this.t(`tier.${one}`)).join(", ");
    return [
      [this.t("column.tier"), tiers || this.t("where.bucket")],
      [this.t("column.size_bytes"), `${this.bytes(row.size_bytes)} (${this.number(row.size_bytes)} B)`],
      [this.t("column.folder"), row.folder],
      [this.t("column.origin"), `${row.origin}${row.storage_class ? ` · ${row.storage_class}` : ""}`],
      [this.t("column.last_used_s"), row.last_used_s === null ? never : `${this.ago(row.last_used_s)} · ${this.n("models.uses", row.uses)}`],
      [this.t("column.saved_s"), row.saved_s ? this.duration(row.saved_s) : "–"],
    ];
  }

  private evictButton(tier: TierName): TemplateResult {
    const label = this.t("act.evictFrom", { tier: this.t(`tier.${tier}`) });
    return html`<button type="button" @click=${() => this.actions.evict([this.row], tier)}>${glyph("evict")}${label}</button>`;
  }

  protected override render() {
    const row = this.row;
    const target = [row];
    return html`<div class="title">
        <bdi>${visible(row.name)}</bdi>
        <button
          class="icon"
          type="button"
          aria-label=${this.t("act.close")}
          title=${this.t("act.close")}
          @click=${() => this.dispatchEvent(new CustomEvent("shut"))}
        >
          ${glyph("cross")}
        </button>
      </div>
      <dl>${this.facts().map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
      <div class="buttons">
        ${row.tiers.includes("ram") || !row.listed
          ? nothing
          : html`<button type="button" ?disabled=${row.loading} @click=${() => this.actions.prefetch(target, "ram")}>
              ${glyph("download")}${this.t("act.toRam")}
            </button>`}
        ${row.tiers.includes("ssd")
          ? html`<button type="button" @click=${() => this.actions.verify(target)}>${glyph("shield")}${this.t("act.verify")}</button>`
          : html`<button type="button" @click=${() => this.askPlan("ssd")}>${glyph("info")}${this.t("act.plan")}</button>`}
        ${canAsk(row) ? html`<button type="button" @click=${() => this.askFit()}>${glyph("info")}${this.t("act.fit")}</button>` : nothing}
        ${row.tiers.map((tier) => this.evictButton(tier))}
      </div>
      ${this.problem ? html`<p class="plan bad">${this.problem}</p>` : nothing}${this.plan ? this.room(this.plan) : nothing}${this.fit
        ? this.fitting(this.fit)
        : nothing}`;
  }
}

define("modelstream-details", Details);
