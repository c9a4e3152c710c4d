// Bars.  A stacked bar with the role of a meter (an amount of something), and the progress of one transfer.

import { css, html, type TemplateResult } from "lit";

export interface Share {
  /** "used", "leased", "reserved": how it is drawn */
  kind: "used" | "leased" | "reserved";
  /** of the whole, 0 … 1 */
  share: number;
}

const percentOf = (share: number) => `${Math.max(0, Math.min(1, share)) * 100}%`;

/** `pinned`: a strip below the rest, because pinned and in use overlap.  `text` is what a screen reader says. */
export function meter(label: string, text: string, colour: string, shares: Share[], pinned = 0): TemplateResult {
  const value = shares.reduce((sum, one) => sum + (one.kind === "reserved" ? 0 : one.share), 0);
  return html`<div
    class="meter"
    role="meter"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(Math.max(0, Math.min(1, value)) * 100)}
    aria-valuetext=${text}
    style="--colour: ${colour}"
  >
    <div class="row">${shares.map((one) => html`<div class=${one.kind} style="width: ${percentOf(one.share)}"></div>`)}</div>
    <div class="pinned" style="width: ${percentOf(pinned)}"></div>
  </div>`;
}

/** A progressbar; `share` null: under way, nobody knows how far. */
export function progress(label: string, text: string, share: number | null): TemplateResult {
  return html`<div
    class="meter progress ${share === null ? "unknown" : ""}"
    role="progressbar"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${share === null ? 0 : Math.round(share * 100)}
    aria-valuetext=${text}
    style="--colour: var(--ms-accent)"
  >
    <div class="row"><div class="leased" style="width: ${percentOf(share ?? 1)}"></div></div>
  </div>`;
}

export const meterStyles = css`
  .meter {
    position: relative;
    height: 12px;
    border-radius: 4px;
    overflow: hidden;
    background: var(--ms-track);
  }
  .meter .row {
    display: flex;
    height: 100%;
  }
  .meter .row > * {
    flex: none;
    min-width: 0;
    transition: width 300ms;
  }
  .leased,
  .swatch.leased {
    background: var(--colour);
  }
  .used,
  .swatch.used {
    background: color-mix(in srgb, var(--colour) 45%, transparent);
  }
  .reserved,
  .swatch.reserved {
    background: repeating-linear-gradient(
      -45deg,
      color-mix(in srgb, var(--colour) 60%, transparent) 0 3px,
      transparent 3px 6px
    );
  }
  .meter .pinned {
    position: absolute;
    bottom: 0;
    height: 4px;
    background: var(--ms-fg);
    transition: width 300ms;
  }
  .progress {
    height: 6px;
    border-radius: 3px;
  }
  .progress.unknown .row {
    opacity: 0.5;
  }
`;
