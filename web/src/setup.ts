// What the panel says in place of figures: nothing configured yet, switched off, a configuration that cannot be read.

import { css, html, nothing } from "lit";
import { Part, define } from "./element";
import { glyph } from "./glyphs";

export class Setup extends Part {
  static override styles = [
    Part.styles,
    css`
      :host {
        display: block;
        padding: 4px 12px 16px;
      }
      ol {
        counter-reset: step;
      }
      li {
        counter-increment: step;
        margin-top: 14px;
        padding-inline-start: 28px;
        position: relative;
      }
      li::before {
        content: counter(step);
        position: absolute;
        inset-inline-start: 0;
        width: 20px;
        height: 20px;
        border-radius: 50%;
        background: var(--ms-hover);
        text-align: center;
        font-size: 12px;
        line-height: 20px;
      }
      code,
      pre {
        font-family: ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace;
        font-size: 12px;
      }
      code {
        overflow-wrap: anywhere;
        user-select: all;
      }
      pre {
        margin: 6px 0;
        padding: 8px 10px;
        border: 1px solid var(--ms-line);
        border-radius: 6px;
        background: var(--ms-raised);
        overflow-x: auto;
      }
      .problem {
        margin-top: 10px;
        padding: 8px 10px;
        border-inline-start: 3px solid var(--ms-bad);
        background: var(--ms-raised);
        overflow-wrap: anywhere;
      }
      .note {
        margin-top: 14px;
      }
    `,
  ];

  private async copy(text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.actions.say("success", this.t("setup.copied"));
    } catch {
      // no permission, or a page without TLS: the text is selected, for the keyboard
      const lines = this.renderRoot.querySelector("pre");
      if (lines) window.getSelection()?.selectAllChildren(lines);
      this.actions.say("info", this.t("setup.selected"));
    }
  }

  protected override render() {
    const status = this.feed.status;
    if (!status) return nothing;
    const { setup, problem } = status;
    if (status.configured && !status.enabled) return html`<p>${this.t("setup.disabled")}</p>`;
    const broken = problem !== "" && status.health.code !== "not_configured";
    const told = status.health.text.includes(problem); // the panel's first line says it
    return html`
      ${!broken ? html`<p>${this.t("setup.intro")}</p>` : told ? nothing : html`<p class="problem" role="alert">${problem}</p>`}
      ${setup
        ? html`<ol>
              <li>
                <p>${this.t(setup.found ? "setup.edit" : "setup.create")}</p>
                <code>${setup.file}</code>
              </li>
              <li>
                <p>${this.t("setup.write")}</p>
                <pre tabindex="0" aria-label=${this.t("setup.write")}>${setup.lines}</pre>
                <button type="button" @click=${() => this.copy(setup.lines)}>${glyph("copy")}${this.t("setup.copy")}</button>
              </li>
              <li><p>${this.t("setup.restart")}</p></li>
            </ol>
            <p class="note muted">${this.t("setup.credentials")}</p>`
        : nothing}
    `;
  }
}

define("modelstream-setup", Setup);
