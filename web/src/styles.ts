// Looks, from ComfyUI's own tokens: newer frontends name them --base-*, older ones --fg-color and so on.
// What a token cannot give (four tiers, three severities) is a hue that has to be told apart on light and on dark.

import { css } from "lit";

/** for the outermost element only: everything inside inherits them */
export const tokens = css`
  :host {
    --ms-fg: var(--base-foreground, var(--fg-color, #222));
    --ms-muted: color-mix(in srgb, var(--muted-foreground, var(--descrip-text, #666)) 78%, var(--ms-fg));
    --ms-bg: var(--interface-panel-surface, var(--comfy-menu-bg, #fff));
    --ms-raised: color-mix(in srgb, var(--ms-fg) 6%, transparent);
    --ms-hover: color-mix(in srgb, var(--ms-fg) 12%, transparent);
    --ms-line: color-mix(in srgb, var(--ms-fg) 16%, transparent);
    --ms-track: color-mix(in srgb, var(--ms-fg) 11%, transparent);
    --ms-accent: #1769d2;
    --ms-on-accent: #fff;
    --ms-good: #1a7f37;
    --ms-warn: #9a6700;
    --ms-bad: #c9252d;
    --ms-vram: #8250df;
    --ms-ram: #1769d2;
    --ms-ssd: #0e7f86;
    --ms-bucket: #a45a08;
    color: var(--ms-fg);
    font: 400 13px/1.4 Inter, system-ui, sans-serif;
    font-variant-numeric: tabular-nums;
  }
  :host([theme="dark"]) {
    --ms-accent: #5ba4f5;
    --ms-on-accent: #08182b;
    --ms-good: #56c271;
    --ms-warn: #e0b040;
    --ms-bad: #ff7b72;
    --ms-vram: #b392f0;
    --ms-ram: #5ba4f5;
    --ms-ssd: #4fc4c4;
    --ms-bucket: #f0a45d;
  }
`;

/** for every element of the panel: controls look the same everywhere */
export const base = css`
  :host {
    box-sizing: border-box;
  }
  [hidden] {
    display: none !important;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  .muted {
    color: var(--ms-muted);
  }
  .name {
    unicode-bidi: isolate;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  h2,
  h3,
  p,
  ul,
  ol,
  dl,
  dd {
    margin: 0;
    padding: 0;
    font: inherit;
  }
  ul,
  ol {
    list-style: none;
  }
  a {
    color: var(--ms-accent);
  }
  button,
  input,
  select {
    font: inherit;
    color: inherit;
  }
  button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 6px;
    min-height: 26px;
    padding: 2px 10px;
    border: 1px solid var(--ms-line);
    border-radius: 6px;
    background: var(--ms-raised);
    cursor: pointer;
  }
  button:hover:not(:disabled) {
    background: var(--ms-hover);
  }
  button:disabled {
    cursor: default;
    opacity: 0.45;
  }
  button.icon {
    width: 26px;
    padding: 0;
    border-color: transparent;
    background: transparent;
    flex: none;
  }
  button.icon:hover:not(:disabled) {
    background: var(--ms-hover);
  }
  button[aria-pressed="true"] {
    color: var(--ms-accent);
  }
  input,
  select {
    min-height: 28px;
    padding: 2px 8px;
    border: 1px solid var(--ms-line);
    border-radius: 6px;
    background: var(--ms-raised);
    min-width: 0;
  }
  select option {
    color: var(--fg-color, #222);
    background: var(--comfy-menu-bg, #fff);
  }
  :focus-visible {
    outline: 2px solid var(--ms-accent);
    outline-offset: 1px;
  }
  svg.glyph {
    width: 16px;
    height: 16px;
    flex: none;
    fill: none;
    stroke: currentColor;
    stroke-width: 1.6;
    stroke-linecap: round;
    stroke-linejoin: round;
  }
  .pill {
    display: inline-flex;
    align-items: center;
    gap: 4px;
    padding: 0 6px;
    border-radius: 9px;
    font-size: 11px;
    line-height: 18px;
    background: var(--ms-raised);
    white-space: nowrap;
  }
  .good {
    color: var(--ms-good);
  }
  .warn {
    color: var(--ms-warn);
  }
  .bad {
    color: var(--ms-bad);
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation: none !important;
      transition: none !important;
    }
  }
`;
