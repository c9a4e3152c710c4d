// Where Model Stream holds on to ComfyUI, and what turned itself off because this ComfyUI is shaped differently.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { Seam } from "./contract";
import { glyph } from "./glyphs";

export class Seams extends Part {
  static override styles = [
    Part.styles,
    css`
      :host {
        display: block;
      }
      li {
        display: grid;
        grid-template-columns: 16px minmax(0, 1fr) max-content;
        gap: 0 8px;
        padding: 4px 0;
        align-items: center;
      }
      li + li {
        border-top: 1px solid var(--ms-line);
      }
      .why {
        grid-column: 2 / -1;
        font-size: 12px;
        overflow-wrap: anywhere;
      }
    `,
  ];

  private seam(seam: Seam): TemplateResult {
    const tone = { on: "good", off: "muted", unfit: "warn" }[seam.state];
    return html`<li data-seam=${seam.name}>
      <span class=${tone}>${glyph(seam.state === "on" ? "check" : seam.state === "unfit" ? "warning" : "pause")}</span>
      <span>${this.t(`seam.${seam.name}`) === `seam.${seam.name}` ? seam.name.replaceAll("_", " ") : this.t(`seam.${seam.name}`)}</span>
      <span class=${tone}>${this.t(`seams.${seam.state}`)}</span>
      ${seam.reason ? html`<span class="why muted">${seam.reason}</span>` : nothing}
    </li>`;
  }

  protected override render() {
    const order = { unfit: 0, off: 1, on: 2 };
    const seams = [...(this.feed.status?.seams ?? [])].sort((one, two) => order[one.state] - order[two.state]);
    if (!seams.length) return html`<p class="muted">${this.t("seams.none")}</p>`;
    return html`<ul>${seams.map((one) => this.seam(one))}</ul>`;
  }
}

define("modelstream-seams", Seams);
