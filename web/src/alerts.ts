// What needs somebody: each alert says what is wrong and what to do about it.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { Alert } from "./contract";
import { glyph } from "./glyphs";
import { texts } from "./i18n";
import { bytes, duration, number, percent, visible } from "./units";

function valueText(alert: Alert): string {
  const value = alert.value ?? 0;
  if (alert.unit === "ratio") return percent(texts.locale, value);
  if (alert.unit === "bytes") return bytes(texts.locale, value);
  if (alert.unit === "seconds") return duration(texts.locale, value);
  return number(texts.locale, value, alert.unit === "money" ? 2 : 0);
}

/** The alert in the user's language where its rule is known, else in the server's words. */
export function alertText(alert: Alert): string {
  const key = `alert.${alert.rule}.message`;
  return texts.has(key) ? texts.get(key, { subject: visible(alert.subject), value: valueText(alert) }) : visible(alert.message);
}

export function alertAdvice(alert: Alert): string {
  const key = `alert.${alert.rule}.advice`;
  return texts.has(key) ? texts.get(key, { subject: visible(alert.subject) }) : visible(alert.recommendation);
}

export class Alerts extends Part {
  static override styles = [
    Part.styles,
    css`
      :host {
        display: block;
      }
      li {
        display: grid;
        grid-template-columns: 20px minmax(0, 1fr);
        gap: 0 8px;
        padding: 8px 10px;
        border-radius: 6px;
        background: var(--ms-raised);
        border-inline-start: 3px solid currentColor;
        overflow-wrap: anywhere;
      }
      li + li {
        margin-top: 6px;
      }
      li > div {
        color: var(--ms-fg);
      }
      li svg {
        margin-top: 1px;
      }
      strong {
        font-weight: 600;
      }
      .small {
        font-size: 12px;
      }
    `,
  ];

  private alert(alert: Alert): TemplateResult {
    const critical = alert.severity === "critical";
    return html`<li class=${critical ? "bad" : "warn"} data-rule=${alert.rule}>
      ${glyph("warning")}
      <div>
        <p><strong>${this.t(critical ? "alerts.critical" : "alerts.warning")}:</strong> ${alertText(alert)}</p>
        <p class="muted">${alertAdvice(alert)}</p>
        <p class="muted small">${this.t("alerts.since", { time: this.ago(alert.since_s) })}</p>
      </div>
    </li>`;
  }

  protected override render() {
    const alerts = this.feed.status?.alerts.active ?? [];
    if (!alerts.length) return html`<p class="muted">${this.t("alerts.none")}</p>`;
    const worstFirst = [...alerts].sort((one, two) => Number(two.severity === "critical") - Number(one.severity === "critical"));
    return html`<ul>${worstFirst.map((one) => this.alert(one))}</ul>${nothing}`;
  }
}

define("modelstream-alerts", Alerts);
