// The few icons of the panel, drawn in a 24-unit square with the text's colour.  Decoration: the control around it has the label.

import { svg, html, type TemplateResult } from "lit";

const PATHS = {
  bucket: svg`<path d="M5 6h14l-1.6 13a1.5 1.5 0 0 1-1.5 1.3H8.1A1.5 1.5 0 0 1 6.6 19zM4 6a8 2.6 0 0 1 16 0"/>`,
  download: svg`<path d="M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 20h14"/>`,
  pin: svg`<path d="M9 4h6l-1 6 3.5 3.5h-11L10 10zM12 13.5V21"/>`,
  evict: svg`<path d="M5 7h14M10 7V4.5h4V7m-7 0 1 13h8l1-13M10 11v5.5m4-5.5v5.5"/>`,
  check: svg`<path d="m5 12.5 4.5 4.5L19 7.5"/>`,
  cross: svg`<path d="m6 6 12 12M18 6 6 18"/>`,
  warning: svg`<path d="M12 4 2.8 19.5h18.4zM12 10v4.5m0 2.6v.2"/>`,
  info: svg`<circle cx="12" cy="12" r="8.5"/><path d="M12 11v5.5m0-9.2v.2"/>`,
  refresh: svg`<path d="M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9m0-4.5V9H15"/>`,
  pause: svg`<path d="M8.5 5v14m7-14v14"/>`,
  play: svg`<path d="M8 5.5v13l10.5-6.5z"/>`,
  search: svg`<circle cx="10.5" cy="10.5" r="6"/><path d="m15 15 5 5"/>`,
  copy: svg`<rect x="9" y="9" width="11" height="11" rx="2"/><path d="M15 9V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h3"/>`,
  chevron: svg`<path d="m9 6 6 6-6 6"/>`,
  edit: svg`<path d="M4 20l1-4L16 5l3 3L8 19zM14 7l3 3"/>`,
  shield: svg`<path d="M12 3.5 5 6v6c0 4.3 3 7.2 7 8.5 4-1.3 7-4.2 7-8.5V6zM9 12l2.2 2.2L15.2 10"/>`,
  up: svg`<path d="m6 15 6-6 6 6"/>`,
  down: svg`<path d="m6 9 6 6 6-6"/>`,
} as const;

export type Glyph = keyof typeof PATHS;

export function glyph(name: Glyph): TemplateResult {
  return html`<svg class="glyph" viewBox="0 0 24 24" aria-hidden="true">${PATHS[name]}</svg>`;
}
