// Sliders, strengths and expressions, drawn from the studio's description of them.

import { $, make } from "./api.js";

const shown = (slider, value) =>
  `${value > 0 && slider.low < 0 ? "+" : ""}${value.toFixed(slider.high > 5 ? 0 : 2)}${slider.unit ?? ""}`;

// Draws everything; `moved(expression, strengths)` is called at every change. Returns the controls.
export function drawControls(about, moved) {
  const rows = new Map();
  const touched = new Set(); // gaze sliders that were moved; the others stay as in the photo
  let timer = null;

  const values = () => ({ expression: read(about.sliders), strengths: read(about.strengths) });

  function read(sliders) {
    const given = {};
    for (const slider of sliders) {
      const value = rows.get(slider.name).input.valueAsNumber;
      const resting = value === slider.rest;
      if (slider.gaze ? touched.has(slider.name) : !resting) given[slider.name] = value;
    }
    return given;
  }

  const tell = () => {
    const { expression, strengths } = values();
    moved(expression, strengths);
  };

  function set(slider, value) {
    const { input, output } = rows.get(slider.name);
    input.value = value;
    show(slider, input, output);
  }

  // Shows the number, and colours the track from the rest value to the thumb.
  function show(slider, input, output) {
    const value = input.valueAsNumber;
    const place = (number) => `${(100 * (number - slider.low)) / (slider.high - slider.low)}%`;
    output.textContent = shown(slider, value);
    const way = value === slider.rest ? "at rest" : slider.ends?.[value > slider.rest ? 1 : 0];
    input.setAttribute("aria-valuetext", way ? `${shown(slider, value)}, ${way}` : shown(slider, value));
    input.style.setProperty("--from", place(Math.min(value, slider.rest)));
    input.style.setProperty("--to", place(Math.max(value, slider.rest)));
  }

  function row(slider) {
    const id = `slider-${slider.name}`;
    const output = make("output", {}, shown(slider, slider.rest));
    output.setAttribute("for", id);
    const input = make("input", {
      type: "range",
      id,
      min: slider.low,
      max: slider.high,
      step: slider.step,
      disabled: true,
    });
    input.value = slider.rest;
    show(slider, input, output);
    input.addEventListener("input", () => {
      if (slider.gaze) touched.add(slider.name);
      show(slider, input, output);
      tell();
    });
    input.addEventListener("dblclick", () => {
      touched.delete(slider.name);
      set(slider, slider.rest);
      tell();
    });
    const label = make("label", { htmlFor: id }, slider.label);
    const element = make("div", { className: "slider" }, label, input, output);
    if (slider.ends) element.title = slider.ends.join(" – ");
    rows.set(slider.name, { input, output, element });
    return element;
  }

  for (const group of new Set(about.sliders.map((slider) => slider.group))) {
    const box = make("fieldset", {}, make("legend", {}, group));
    box.append(...about.sliders.filter((slider) => slider.group === group).map(row));
    $("sliders").append(box);
  }
  $("strengths").append(...about.strengths.map(row));

  const presets = about.presets.map(({ label, expression }) => {
    const button = make("button", { type: "button", disabled: true }, label);
    button.addEventListener("click", () => glide(expression));
    return button;
  });
  $("presets").append(...presets);

  // Moves all sliders to an expression in a third of a second.
  function glide(expression) {
    clearInterval(timer);
    const from = new Map(about.sliders.map(({ name }) => [name, rows.get(name).input.valueAsNumber]));
    const began = performance.now();
    for (const slider of about.sliders) {
      if (slider.gaze && slider.name in expression) touched.add(slider.name);
    }
    timer = setInterval(() => {
      const t = Math.min((performance.now() - began) / 320, 1);
      const eased = t * t * (3 - 2 * t);
      for (const slider of about.sliders) {
        const to = expression[slider.name] ?? slider.rest;
        set(slider, from.get(slider.name) + (to - from.get(slider.name)) * eased);
      }
      if (t === 1) {
        clearInterval(timer);
        for (const slider of about.sliders) {
          if (!(slider.name in expression)) touched.delete(slider.name);
        }
      }
      tell();
    }, 40);
  }

  function reset(told = true) {
    clearInterval(timer);
    touched.clear();
    for (const slider of [...about.sliders, ...about.strengths]) set(slider, slider.rest);
    if (told) tell();
  }

  $("reset").addEventListener("click", () => reset());

  return {
    values,
    reset,
    enable(on) {
      for (const { input } of rows.values()) input.disabled = !on;
      for (const button of [...presets, $("reset")]) button.disabled = !on;
    },
    showGaze(on) {
      for (const slider of about.sliders) {
        if (slider.gaze) rows.get(slider.name).element.hidden = !on;
      }
    },
  };
}
