// A part of the panel under a heading that opens and closes it; the browser remembers which are open.

import { LitElement, css, html, nothing } from "lit";
import { define, remember, remembered } from "./element";
import { glyph } from "./glyphs";
import { base } from "./styles";

export class Section extends LitElement {
  static override properties = { heading: {}, key: {}, note: {}, shut: { type: Boolean }, open: { state: true } };
  declare heading: string;
  declare key: string;
  /** a word or two beside the heading, seen also while it is shut */
  declare note: string;
  /** closed until the user opens it */
  declare shut: boolean;
  declare open: boolean | undefined;

  static override styles = [
    base,
    css`
      :host {
        display: block;
        border-top: 1px solid var(--ms-line);
      }
      h3 button {
        width: 100%;
        justify-content: flex-start;
        border: 0;
        border-radius: 0;
        background: none;
        padding: 8px 12px;
        font-weight: 600;
        min-height: 34px;
      }
      h3 svg {
        width: 14px;
        height: 14px;
        opacity: 0.7;
        transition: transform 120ms;
      }
      [aria-expanded="true"] svg {
        transform: rotate(90deg);
      }
      .note {
        margin-inline-start: auto;
        font-weight: 400;
        color: var(--ms-muted);
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .body {
        padding: 2px 12px 12px;
      }
    `,
  ];

  get isOpen(): boolean {
    return this.open ?? remembered(`open.${this.key}`, !this.shut);
  }

  private toggle(): void {
    this.open = !this.isOpen;
    remember(`open.${this.key}`, this.open);
    this.dispatchEvent(new CustomEvent("opened", { detail: this.open }));
  }

  protected override render() {
    return html`<h3>
        <button type="button" aria-expanded=${this.isOpen} aria-controls="body" @click=${this.toggle}>
          ${glyph("chevron")}<span>${this.heading}</span>${this.note ? html`<span class="note">${this.note}</span>` : nothing}
        </button>
      </h3>
      <div class="body" id="body" ?hidden=${!this.isOpen}>${this.isOpen ? html`<slot></slot>` : nothing}</div>`;
  }
}

define("modelstream-section", Section);
