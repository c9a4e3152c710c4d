// What will be fetched before anybody asks, why, and how often that was right.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { Prefetch as Figures } from "./contract";
import { glyph } from "./glyphs";
import { visible } from "./units";

export class PrefetchPlan extends Part {
  static override styles = [
    Part.styles,
    css`
      :host {
        display: block;
      }
      .accuracy {
        display: flex;
        align-items: center;
        gap: 8px;
      }
      .accuracy p {
        flex: 1;
      }
      ol {
        margin-top: 8px;
      }
      li {
        padding: 5px 0;
        border-top: 1px solid var(--ms-line);
      }
      .line {
        display: flex;
        gap: 8px;
      }
      .line .name {
        flex: 1;
        font-weight: 500;
      }
      .small,
      .why {
        font-size: 12px;
      }
      .none {
        margin-top: 6px;
      }
    `,
  ];

  private reason(reason: string): string {
    return this.t(`prefetch.reason.${reason}`) === `prefetch.reason.${reason}` ? visible(reason) : this.t(`prefetch.reason.${reason}`);
  }

  private plan(prefetch: Figures): TemplateResult {
    if (!prefetch.plan.length) return html`<p class="none muted">${this.t("prefetch.empty")}</p>`;
    return html`<ol>
      ${prefetch.plan.map(
        (one) => html`<li>
          <div class="line">
            <bdi class="name" title=${`${one.folder}/${visible(one.name)}`}>${visible(one.name)}</bdi><span class="muted">${this.bytes(one.size_bytes)}</span>
          </div>
          <p class="why muted">
            ${this.reason(one.reason)}${one.probability === null ? nothing : ` · ${this.t("prefetch.likely", { share: this.percent(one.probability) })}`}
          </p>
        </li>`,
      )}
    </ol>`;
  }

  protected override render() {
    const prefetch = this.feed.status?.prefetch;
    if (!prefetch) return html`<p class="muted">${this.t("prefetch.off")}</p>`;
    const done = prefetch.useful + prefetch.late + prefetch.wasted;
    const counts = { useful: this.number(prefetch.useful), late: this.number(prefetch.late), wasted: this.number(prefetch.wasted) };
    return html`<div class="accuracy">
        <p>
          ${prefetch.accuracy === null || !done
            ? html`<span class="muted">${this.t("prefetch.unmeasured")}</span>`
            : html`${this.t("prefetch.accuracy", { share: this.percent(prefetch.accuracy) })}<br /><span class="muted small">${this.t("prefetch.counts", counts)}</span>`}
        </p>
        <button type="button" aria-pressed=${prefetch.paused} @click=${() => this.actions.pausePrefetch(!prefetch.paused)}>
          ${glyph(prefetch.paused ? "play" : "pause")}${this.t(prefetch.paused ? "prefetch.resume" : "prefetch.pause")}
        </button>
      </div>
      ${prefetch.paused ? html`<p class="none warn">${this.t("prefetch.paused")}</p>` : this.plan(prefetch)}`;
  }
}

define("modelstream-prefetch", PrefetchPlan);
