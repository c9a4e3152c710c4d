// The tier map: four bars, nearest memory first.  A bar's full width is the tier's budget.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { Tier, TierName, Tiers } from "./contract";
import { glyph } from "./glyphs";
import { texts } from "./i18n";
import { meter, meterStyles, type Share } from "./meter";
import { bytesPair } from "./units";

const NAMES: readonly TierName[] = ["vram", "ram", "ssd"];

export class TierMap extends Part {
  static override properties = { ...Part.properties, editing: { state: true } };
  declare editing: TierName | undefined;

  static override styles = [
    Part.styles,
    meterStyles,
    css`
      :host {
        display: block;
      }
      .tier {
        margin-top: 10px;
      }
      .tier:first-child {
        margin-top: 0;
      }
      .line {
        display: flex;
        align-items: center;
        gap: 8px;
        min-height: 26px;
        margin-bottom: 2px;
      }
      .line strong {
        font-weight: 600;
      }
      .line .figures {
        margin-inline-start: auto;
        text-align: end;
      }
      .line button {
        align-self: center;
      }
      .detail {
        font-size: 12px;
        margin-top: 3px;
        min-height: 17px;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        gap: 6px;
        align-items: center;
        margin-top: 6px;
        padding: 8px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
      }
      form input {
        width: 84px;
      }
      form p {
        flex-basis: 100%;
        font-size: 12px;
      }
      .legend {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 12px;
        margin-top: 10px;
        font-size: 12px;
      }
      .legend li {
        display: flex;
        align-items: center;
        gap: 5px;
      }
      .swatch {
        --colour: var(--ms-ram);
        width: 14px;
        height: 10px;
        border-radius: 2px;
        background-color: var(--ms-track);
      }
      .swatch.leased {
        background-color: var(--colour);
      }
      .swatch.pinned {
        background: linear-gradient(to top, var(--ms-fg) 0 4px, var(--ms-track) 4px);
      }
    `,
  ];

  private figures(tier: Tier): string {
    if (tier.budget_bytes === null) return this.bytes(tier.used_bytes);
    const [used, budget] = bytesPair(texts.locale, tier.used_bytes, tier.budget_bytes);
    return this.t("tiers.of", { used, budget });
  }

  private detail(name: TierName, tier: Tier): string {
    const said = [this.n("tiers.models", tier.entries)];
    if (tier.leased_bytes) said.push(this.t("tiers.leased", { size: this.bytes(tier.leased_bytes) }));
    if (tier.pinned_bytes) said.push(this.t("tiers.pinned", { size: this.bytes(tier.pinned_bytes) }));
    if (tier.reserved_bytes) said.push(this.t("tiers.reserved", { size: this.bytes(tier.reserved_bytes) }));
    if (name === "vram" && this.feed.status?.gpus?.length === 0) said.push(this.t("tiers.noCard"));
    if (name !== "vram" && !tier.writable) said.push(this.t("tiers.readOnly"));
    return said.join(" · ");
  }

  /** What a full bar stands for: the budget; without one, for VRAM all memory of the cards, else all that the buckets hold. */
  private scale(name: TierName, tier: Tier): number {
    const cards = this.feed.status?.gpus?.reduce((sum, one) => sum + (one.memory_total_bytes ?? 0), 0) ?? 0;
    const whole = tier.budget_bytes ?? ((name === "vram" && cards) || (this.feed.status?.tiers.bucket?.used_bytes ?? 0));
    return Math.max(whole, tier.used_bytes + tier.reserved_bytes, 1);
  }

  private tier(name: TierName, tier: Tier | null | undefined): TemplateResult {
    const label = this.t(`tier.${name}`);
    if (!tier) {
      return html`<div class="tier">
        <div class="line"><strong>${label}</strong><span class="figures muted">${this.t(name === "vram" ? "tiers.noVram" : "tiers.off")}</span></div>
        <div class="meter"></div>
      </div>`;
    }
    const whole = this.scale(name, tier);
    const shares: Share[] = [
      { kind: "leased", share: tier.leased_bytes / whole },
      { kind: "used", share: Math.max(0, tier.used_bytes - tier.leased_bytes) / whole },
      { kind: "reserved", share: tier.reserved_bytes / whole },
    ];
    const figures = this.figures(tier);
    const detail = this.detail(name, tier);
    return html`<div class="tier" data-tier=${name}>
      <div class="line">
        <strong>${label}</strong><span class="figures">${figures}</span>
        ${tier.adjustable || tier.entries
          ? html`<button
              class="icon"
              type="button"
              aria-expanded=${this.editing === name}
              aria-label=${this.t("tiers.edit", { tier: label })}
              title=${this.t("tiers.edit", { tier: label })}
              @click=${() => (this.editing = this.editing === name ? undefined : name)}
            >
              ${glyph("edit")}
            </button>`
          : nothing}
      </div>
      ${meter(label, `${figures}. ${detail}`, `var(--ms-${name})`, shares, tier.pinned_bytes / whole)}
      <div class="detail muted">${detail}</div>
      ${this.editing === name ? this.form(name, tier) : nothing}
    </div>`;
  }

  private form(name: TierName, tier: Tier): TemplateResult {
    const apply = async (event: SubmitEvent) => {
      event.preventDefault();
      const gigabytes = Number(new FormData(event.target as HTMLFormElement).get("size"));
      if (Number.isFinite(gigabytes) && (await this.actions.budget(name, Math.round(gigabytes * 1e9)))) this.editing = undefined;
    };
    return html`<form @submit=${apply}>
      ${tier.adjustable
        ? html`<label for="size">${this.t("tiers.budget")}</label>
            <input id="size" name="size" type="number" min="0" step="any" required .value=${String(Math.round((tier.budget_bytes ?? 0) / 1e7) / 100)} />
            <span>GB</span><button type="submit">${this.t("tiers.apply")}</button>`
        : nothing}
      <button type="button" ?disabled=${!tier.entries} @click=${() => this.actions.clear(name)}>${glyph("evict")}${this.t("tiers.clear")}</button>
      ${tier.adjustable ? html`<p class="muted">${this.t("tiers.budgetNote")}</p>` : nothing}
    </form>`;
  }

  private bucket(tiers: Tiers): TemplateResult {
    const label = this.t("tier.bucket");
    const { entries, used_bytes: size } = tiers.bucket ?? { entries: 0, used_bytes: 0 };
    const here = Math.max(tiers.ssd?.used_bytes ?? 0, tiers.ram?.used_bytes ?? 0);
    const share = size ? Math.min(1, here / size) : 0;
    const detail = size ? this.t("tiers.here", { share: this.percent(share) }) : this.t("tiers.bucketEmpty");
    const figures = `${this.n("tiers.models", entries)}${size ? ` · ${this.bytes(size)}` : ""}`;
    return html`<div class="tier" data-tier="bucket">
      <div class="line"><strong>${label}</strong><span class="figures">${figures}</span></div>
      ${meter(label, `${figures}. ${detail}`, "var(--ms-bucket)", [{ kind: "used", share }])}
      <div class="detail muted">${detail}</div>
    </div>`;
  }

  private legend(): TemplateResult {
    const kinds = ["leased", "used", "pinned", "reserved"] as const;
    return html`<ul class="legend muted" aria-hidden="true">
      ${kinds.map((kind) => html`<li><span class="swatch ${kind}"></span>${this.t(`legend.${kind}`)}</li>`)}
    </ul>`;
  }

  protected override render() {
    const tiers = this.feed.status?.tiers;
    if (!tiers || !("bucket" in tiers)) return html`<p class="muted">${this.t("tiers.opening")}</p>`;
    return html`${NAMES.map((name) => this.tier(name, tiers[name]))}${this.bucket(tiers)}${this.legend()}`;
  }
}

define("modelstream-tiers", TierMap);
