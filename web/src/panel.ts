// The sidebar panel: a sentence of health, then the parts from what is most asked for to what is rarely.

import { css, html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { Health } from "./contract";
import { glyph, type Glyph } from "./glyphs";
import { texts } from "./i18n";
import type { Models } from "./models";
import { tokens } from "./styles";
import { rate } from "./units";
import { reasonOf } from "./actions";
import { alertText } from "./alerts";
import "./gpus";
import "./models";
import "./now";
import "./prefetch";
import "./savings";
import "./seams";
import "./section";
import "./setup";
import "./tiers";
import "./timeline";

const ICONS: Record<Health["level"], [Glyph, string]> = {
  ok: ["check", "good"],
  warning: ["warning", "warn"],
  critical: ["warning", "bad"],
  off: ["info", "muted"],
};

/** Whether light text belongs on it; from what a browser computes, "rgb(1 2 3)" or "color(srgb 0.1 0.2 0.3)". */
export function isDark(colour: string): boolean {
  const [red = 255, green = 255, blue = 255] = (colour.match(/[\d.]+/g) ?? []).map((part) => Number(part) * (colour.startsWith("color(") ? 255 : 1));
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

export class Panel extends Part {
  static override properties = { ...Part.properties, theme: { reflect: true }, said: { state: true } };
  declare theme: "dark" | "light";
  declare said: string;

  static override styles = [
    tokens,
    Part.styles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        height: 100%;
        min-width: 0;
        overflow-y: auto;
        background: var(--ms-bg);
        container-type: inline-size;
      }
      header {
        position: sticky;
        top: 0;
        z-index: 2;
        background: var(--ms-bg);
      }
      .bar {
        display: flex;
        align-items: center;
        gap: 2px;
        padding: 8px 8px 0 12px;
      }
      h2 {
        flex: 1;
        font-size: 15px;
        font-weight: 600;
      }
      .health {
        display: grid;
        grid-template-columns: 18px minmax(0, 1fr);
        gap: 6px;
        padding: 4px 12px 10px;
        overflow-wrap: anywhere;
      }
      .health svg {
        margin-top: 1px;
      }
      .banner {
        display: flex;
        align-items: center;
        gap: 8px;
        padding: 8px 12px;
        background: color-mix(in srgb, var(--ms-warn) 16%, var(--ms-bg));
      }
      .stale {
        filter: grayscale(1);
      }
      .origins {
        margin-top: 10px;
        font-size: 12px;
      }
      .origins li {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 0 8px;
      }
      .origins li > :last-child {
        text-align: end;
        overflow-wrap: anywhere;
      }
      .locked {
        display: flex;
        flex-wrap: wrap;
        gap: 8px;
        padding: 12px;
      }
      .locked label,
      .locked p {
        flex-basis: 100%;
      }
      .locked input {
        flex: 1;
      }
      .pad {
        padding: 12px;
      }
      footer {
        margin-top: auto;
        padding: 10px 12px;
        border-top: 1px solid var(--ms-line);
        font-size: 12px;
      }
      @container (min-width: 900px) {
        .columns {
          display: grid;
          grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
        }
        .columns > .across {
          grid-column: 1 / -1;
        }
      }
    `,
  ];

  private readonly watch = new MutationObserver(() => this.readTheme());

  constructor() {
    super();
    this.said = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    for (const element of [document.documentElement, document.body]) this.watch.observe(element, { attributeFilter: ["class", "style"] });
    this.readTheme();
    this.actions.announce = (text) => (this.said = text);
    this.actions.changed = () => this.renderRoot.querySelector<Models>("modelstream-models")?.refetch();
    this.feed.open();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.watch.disconnect();
    this.actions.changed = () => undefined;
    this.feed.close();
  }

  protected override willUpdate(changes: PropertyValues): void {
    super.willUpdate(changes);
    this.lang = texts.locale;
  }

  /** Dark is what looks dark: not every frontend says it in a class, and palettes can be anything. */
  private readTheme(): void {
    this.theme = isDark(getComputedStyle(this).backgroundColor) ? "dark" : "light";
  }

  private sentence(health: Health): string {
    const values = { ...health.values };
    if (typeof values["rate_bytes_per_s"] === "number") values["rate"] = rate(texts.locale, values["rate_bytes_per_s"]);
    const alert = health.code === "alert" && this.feed.status?.alerts.active.find((one) => one.rule === values["rule"]);
    if (alert) return alertText(alert);
    if (typeof values["count"] === "number" && texts.has(`health.${health.code}.other`)) return this.n(`health.${health.code}`, values["count"], values);
    return texts.has(`health.${health.code}`) ? this.t(`health.${health.code}`, values) : health.text;
  }

  private header(): TemplateResult {
    const health = this.feed.status?.health;
    const [icon, tone] = ICONS[health?.level ?? "off"];
    return html`<header>
      <div class="bar">
        <h2>Model Stream</h2>
        ${this.feed.status?.configured
          ? html`<button class="icon" type="button" aria-label=${this.t("act.refresh")} title=${this.t("act.refresh")} @click=${() => this.actions.refresh()}>
              ${glyph("refresh")}
            </button>`
          : nothing}
      </div>
      ${health && !["away", "locked", "refused"].includes(this.feed.phase) ? html`<p class="health"><span class=${tone}>${glyph(icon)}</span><span data-health=${health.code}>${this.sentence(health)}</span></p>` : nothing}
      ${this.feed.phase === "away" ? this.banner(this.t("phase.away")) : nothing}${this.feed.failure ? this.banner(reasonOf(this.feed.failure)) : nothing}
    </header>`;
  }

  private banner(said: string): TemplateResult {
    return html`<p class="banner" role="status" data-phase=${this.feed.phase}>${glyph("warning")}<span>${said}</span></p>`;
  }

  private locked(): TemplateResult {
    const unlock = (event: SubmitEvent) => {
      event.preventDefault();
      const form = event.target as HTMLFormElement;
      this.feed.unlock(String(new FormData(form).get("token") ?? "").trim());
      form.reset();
    };
    if (this.feed.lock === "none") return html`<p class="pad" data-lock="none">${this.t("phase.noToken")}</p>`;
    const wrong = this.feed.lock === "wrong";
    return html`<form class="locked" data-lock=${this.feed.lock} @submit=${unlock}>
      <label for="token">${this.t("phase.locked")}</label>
      <input id="token" name="token" type="password" autocomplete="off" required minlength="32" aria-invalid=${wrong} aria-describedby="wrong" />
      <button type="submit">${this.t("phase.unlock")}</button>
      <p id="wrong" class="bad" role="alert">${wrong ? this.t("phase.wrongToken") : nothing}</p>
    </form>`;
  }

  private origins(): TemplateResult | typeof nothing {
    const origins = this.feed.status?.origins ?? [];
    if (!origins.length) return nothing;
    return html`<ul class="origins">
      ${origins.map((one) => {
        const said = one.error
          ? html`<span class="bad">${texts.has(`error.${one.error.code}`) ? this.t(`error.${one.error.code}`) : one.error.message}</span>`
          : html`<span class="muted"
              >${one.refreshing && !one.listed_s ? this.t("origin.listing") : one.listed_s ? this.t("origin.listed", { time: this.ago(one.listed_s) }) : this.t("origin.waiting")}${one.cut
                ? ` · ${this.t("origin.cut")}`
                : ""}${one.skipped ? ` · ${this.n("origin.skipped", one.skipped)}` : ""}</span
            >`;
        return html`<li data-origin=${one.name}><span>${one.name}</span>${said}</li>`;
      })}
    </ul>`;
  }

  private sections(): TemplateResult {
    const status = this.feed.status!;
    const part = { feed: this.feed, actions: this.actions };
    const count = (value: number) => (value ? this.number(value) : "");
    const unfit = status.seams.filter((one) => one.state === "unfit").length;
    const on = status.seams.filter((one) => one.state === "on").length;
    const seams = unfit ? this.n("seams.unfitCount", unfit) : this.t("seams.onCount", { on: this.number(on), all: this.number(status.seams.length) });
    const hitRate = status.savings?.hit_rate;
    return html`<div class="columns ${this.feed.phase === "away" ? "stale" : ""}">
      ${status.alerts.active.length
        ? html`<modelstream-section class="across" key="alerts" .heading=${this.t("alerts.heading")} .note=${count(status.alerts.active.length)}>
            <modelstream-alerts .feed=${part.feed} .actions=${part.actions}></modelstream-alerts>
          </modelstream-section>`
        : nothing}
      <modelstream-section key="tiers" .heading=${this.t("tiers.heading")}>
        <modelstream-tiers .feed=${part.feed} .actions=${part.actions}></modelstream-tiers>${this.origins()}
      </modelstream-section>
      <modelstream-section key="now" .heading=${this.t("now.heading")} .note=${count(status.transfers.length + this.feed.moreTransfers)}>
        <modelstream-now .feed=${part.feed} .actions=${part.actions}></modelstream-now>
      </modelstream-section>
      <modelstream-section class="across" key="models" .heading=${this.t("models.heading")}>
        <modelstream-models .feed=${part.feed} .actions=${part.actions}></modelstream-models>
      </modelstream-section>
      <modelstream-section key="gpu" .heading=${this.t("gpu.heading")}>
        <modelstream-gpus .feed=${part.feed} .actions=${part.actions}></modelstream-gpus>
      </modelstream-section>
      <modelstream-section key="savings" .heading=${this.t("savings.heading")} .note=${hitRate === null || hitRate === undefined ? "" : this.percent(hitRate)}>
        <modelstream-savings .feed=${part.feed} .actions=${part.actions}></modelstream-savings>
      </modelstream-section>
      <modelstream-section class="across" key="timeline" .heading=${this.t("timeline.heading")}>
        <modelstream-timeline .feed=${part.feed} .actions=${part.actions} .theme=${this.theme}></modelstream-timeline>
      </modelstream-section>
      <modelstream-section key="prefetch" .heading=${this.t("prefetch.heading")}>
        <modelstream-prefetch .feed=${part.feed} .actions=${part.actions}></modelstream-prefetch>
      </modelstream-section>
      ${status.alerts.active.length
        ? nothing
        : html`<modelstream-section key="alerts" .heading=${this.t("alerts.heading")}>
            <modelstream-alerts .feed=${part.feed} .actions=${part.actions}></modelstream-alerts>
          </modelstream-section>`}
      <modelstream-section key="seams" shut .heading=${this.t("seams.heading")} .note=${seams}>
        <modelstream-seams .feed=${part.feed} .actions=${part.actions}></modelstream-seams>
      </modelstream-section>
    </div>`;
  }

  private body(): TemplateResult {
    if (this.feed.phase === "locked") return this.locked();
    if (this.feed.phase === "missing") return html`<p class="pad bad">${this.t("phase.missing")}</p>`;
    const status = this.feed.status;
    if (!status) return html`<p class="pad muted">${this.feed.phase === "connecting" ? this.t("phase.connecting") : ""}</p>`;
    const working = status.configured && status.enabled && !(status.problem && !status.origins.length);
    if (!working) return html`<modelstream-setup .feed=${this.feed} .actions=${this.actions}></modelstream-setup>`;
    return this.sections();
  }

  protected override render() {
    return html`${this.header()}${this.body()}
      <div class="hidden" aria-live="polite" aria-atomic="true">${this.said}</div>
      ${this.feed.status ? html`<footer class="muted">Model Stream ${this.feed.status.version}</footer>` : nothing}`;
  }
}

define("modelstream-panel", Panel);
