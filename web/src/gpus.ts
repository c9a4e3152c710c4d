// The graphics cards, as the server reads them.  What a device does not tell is said so, never drawn as zero.

import { css, html, nothing, type TemplateResult } from "lit";
import { Part, define } from "./element";
import type { DeviceModels, Gpu } from "./contract";
import { texts } from "./i18n";
import { meter, meterStyles } from "./meter";
import { bytesPair } from "./units";

const HOT_C = 85;

export class Gpus extends Part {
  static override styles = [
    Part.styles,
    meterStyles,
    css`
      :host {
        display: block;
      }
      .card + .card {
        margin-top: 12px;
        padding-top: 10px;
        border-top: 1px solid var(--ms-line);
      }
      .title {
        font-weight: 500;
        margin-bottom: 4px;
      }
      .line {
        display: grid;
        grid-template-columns: 84px minmax(0, 1fr) max-content;
        gap: 8px;
        align-items: center;
        min-height: 22px;
        font-size: 12px;
      }
      .line .meter {
        height: 8px;
      }
      .plain {
        display: flex;
        flex-wrap: wrap;
        gap: 2px 14px;
        font-size: 12px;
        margin-top: 2px;
      }
    `,
  ];

  private bar(label: string, share: number | null, figure: string): TemplateResult {
    return html`<div class="line">
      <span class="muted">${label}</span>
      ${share === null ? html`<span></span>` : meter(label, figure, "var(--ms-vram)", [{ kind: "leased", share }])}
      <span class=${share === null ? "muted" : ""}>${figure}</span>
    </div>`;
  }

  private figure(key: string, value: number | null, text: (value: number) => string, tone = ""): TemplateResult {
    return html`<span><span class="muted">${this.t(key)}</span> <span class=${value === null ? "muted" : tone}>${value === null ? this.t("gpu.unknown") : text(value)}</span></span>`;
  }

  private card(gpu: Gpu): TemplateResult {
    const unknown = this.t("gpu.unknown");
    const { memory_used_bytes: used, memory_total_bytes: total, utilization_percent: busy, temperature_c: heat } = gpu;
    const memory = used !== null && total ? bytesPair(texts.locale, used, total) : null;
    return html`<div class="card" data-gpu=${gpu.index}>
      <p class="title">${this.t("gpu.title", { index: gpu.index, name: gpu.name })}</p>
      ${gpu.state === "ok"
        ? html`${this.bar(
            this.t("gpu.memory"),
            memory ? (used ?? 0) / (total ?? 1) : null,
            memory ? this.t("tiers.of", { used: memory[0], budget: memory[1] }) : unknown,
          )}
          ${this.bar(this.t("gpu.busy"), busy === null ? null : busy / 100, busy === null ? unknown : this.percent(busy / 100))}
            <p class="plain">
              ${this.figure("gpu.heat", heat, (value) => `${this.number(value)} °C`, (heat ?? 0) >= HOT_C ? "bad" : "")}
              ${this.figure("gpu.power", gpu.power_w, (value) =>
                gpu.power_limit_w ? this.t("tiers.of", { used: this.number(value), budget: `${this.number(gpu.power_limit_w)} W` }) : `${this.number(value)} W`,
              )}
            </p>`
        : html`<p class=${gpu.state === "lost" ? "bad" : "muted"}>${this.t(`gpu.${gpu.state}`)}</p>`}
    </div>`;
  }

  /** What lies on a device: "diffusion model 5.1 GB float16", what is offloaded, what precision saves. */
  private models(one: DeviceModels): TemplateResult {
    const parts = Object.entries(one.bytes).flatMap(([kind, dtypes]) =>
      Object.entries(dtypes).map(([dtype, size]) => ({ kind: this.t(`component.${kind}`), size: this.bytes(size), dtype })),
    );
    const more = (["offloaded", "saved", "largest_free"] as const).flatMap((name) => {
      const value = one[`${name}_bytes`];
      return value ? [[this.t(`gpu.${name}`), this.bytes(value)] as const] : [];
    });
    return html`<div class="card" data-device=${one.device}>
      <p class="title">${this.t("gpu.onDevice", { device: one.device, size: this.bytes(one.models_bytes) })}</p>
      <p class="plain">
        ${parts.map(({ kind, size, dtype }) => html`<span><span class="muted">${kind}</span> ${size} <span class="muted">${dtype}</span></span>`)}
        ${more.map(([name, size]) => html`<span><span class="muted">${name}</span> ${size}</span>`)}
      </p>
    </div>`;
  }

  protected override render() {
    const models = (this.feed.status?.on_devices ?? []).filter((one) => one.models_bytes || one.offloaded_bytes);
    return html`${this.cards()}${models.map((one) => this.models(one))}`;
  }

  private cards() {
    const gpus = this.feed.status?.gpus;
    if (gpus === null || gpus === undefined) return html`<p class="muted">${this.t("gpu.looking")}</p>`;
    if (!gpus.length) return html`<p class="muted">${this.t("gpu.none")}</p>`;
    return html`${gpus.map((one) => this.card(one))}${nothing}`;
  }
}

define("modelstream-gpus", Gpus);
