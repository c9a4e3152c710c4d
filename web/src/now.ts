// What is on its way: a row a transfer, with who waits for it, and what ComfyUI is doing.

import { css, html, nothing, type TemplateResult } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Part, define } from "./element";
import type { Transfer } from "./contract";
import { glyph } from "./glyphs";
import { texts } from "./i18n";
import { meterStyles, progress } from "./meter";
import { bytesPair, rate, visible } from "./units";

export class Now extends Part {
  static override styles = [
    Part.styles,
    meterStyles,
    css`
      :host {
        display: block;
      }
      li {
        padding: 6px 0;
      }
      li + li {
        border-top: 1px solid var(--ms-line);
      }
      .line {
        display: flex;
        align-items: center;
        gap: 6px;
      }
      .line .name {
        font-weight: 500;
        flex: 1;
      }
      .facts {
        display: flex;
        flex-wrap: wrap;
        gap: 0 10px;
        font-size: 12px;
        margin-top: 3px;
      }
      .facts .end {
        margin-inline-start: auto;
      }
      .queue {
        margin-top: 6px;
        font-size: 12px;
      }
    `,
  ];

  private facts(one: Transfer): { amount: string; speed: string; left: string } {
    const [done, size] = bytesPair(texts.locale, one.done_bytes, one.size_bytes);
    const moving = one.rate_bytes_per_s > 0;
    return {
      amount: this.t("now.amount", { done, size }),
      speed: moving ? rate(texts.locale, one.rate_bytes_per_s) : this.t("now.starting"),
      left: one.eta_s !== null && moving ? this.t("now.left", { time: this.duration(Math.max(1, Math.round(one.eta_s))) }) : "",
    };
  }

  private waits(one: Transfer): string {
    if (one.waiting_nodes.length) {
      const titles = one.waiting_nodes.map(({ node }) => this.actions.nodeTitle(node));
      return this.t("now.waits", { nodes: [...new Set(titles)].join(", ") });
    }
    return this.t(one.reason === "prefetch" ? "now.prefetch" : one.priority === "background" ? "now.background" : "now.nobody");
  }

  private transfer(one: Transfer): TemplateResult {
    const { amount, speed, left } = this.facts(one);
    const name = visible(one.name);
    const cancel = this.t("now.cancel", { name });
    return html`<li data-transfer=${one.id}>
      <div class="line">
        <bdi class="name" title=${visible(one.subject)}>${name}</bdi>
        <button
          class="icon"
          type="button"
          aria-label=${cancel}
          title=${cancel}
          @click=${() => this.actions.cancel(one.id, one.name, one.waiting_nodes.length)}
        >
          ${glyph("cross")}
        </button>
      </div>
      ${progress(name, [amount, speed, left].filter(Boolean).join(", "), one.size_bytes ? one.done_bytes / one.size_bytes : null)}
      <div class="facts muted">
        <span>${amount}</span><span>${speed}</span>${left ? html`<span>${left}</span>` : nothing}<span class="end">${this.waits(one)}</span>
      </div>
    </li>`;
  }

  /** Objects that come from the SSD have no transfer; they are told of by name. */
  private reading(): string[] {
    const status = this.feed.status;
    const moving = new Set(status?.transfers.map((one) => one.subject));
    return (status?.tiers.loading ?? []).filter((subject) => !moving.has(subject));
  }

  /** From the SSD, or from an archive that gives its objects back after hours. */
  private source(subject: string): string {
    const restoring = this.feed.status?.tiers.restoring?.find((one) => one.subject === subject);
    if (!restoring) return this.t("now.fromDisk");
    if (restoring.left_s === null) return this.t("now.restoring");
    return this.t("now.restoringLeft", { time: this.duration(Math.max(60, Math.round(restoring.left_s))) });
  }

  private queue(): TemplateResult | typeof nothing {
    const queue = this.feed.status?.queue;
    if (!queue || queue.running === null || queue.pending === null) return nothing;
    if (!queue.running && !queue.pending) return nothing;
    const node = queue.execution?.node;
    const doing = node ? this.t("now.running", { node: this.actions.nodeTitle(node) }) : this.t("now.runningAny");
    return html`<p class="queue muted">${queue.running ? doing : ""} ${queue.pending ? this.n("now.pending", queue.pending) : ""}</p>`;
  }

  protected override render() {
    const transfers = this.feed.status?.transfers ?? [];
    const reading = this.reading();
    const more = this.feed.moreTransfers;
    return html`${transfers.length || reading.length
        ? html`<ul>
            ${repeat(
              transfers,
              (one) => one.id,
              (one) => this.transfer(one),
            )}${reading.map((subject) => {
              const name = visible(subject.split("/").at(-1) ?? subject);
              return html`<li>
                <div class="line"><bdi class="name" title=${visible(subject)}>${name}</bdi><span class="muted">${this.source(subject)}</span></div>
              </li>`;
            })}
          </ul>`
        : html`<p class="muted">${this.t("now.nothing")}</p>`}
      ${more ? html`<p class="queue muted">${this.n("now.more", more)}</p>` : nothing}${this.queue()}`;
  }
}

define("modelstream-now", Now);
