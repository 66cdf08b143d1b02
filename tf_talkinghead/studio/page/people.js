// The gallery: all avatars with their pictures, the card of the chosen one, and deletion.

import { $, enc, get, make, remove } from "./api.js";

const number = (value, digits = 2) => (value === null ? "not known" : value.toFixed(digits));

export class People {
  constructor(chose) {
    this.chose = chose;
    this.chosen = null;
    this.names = [];
    $("open-card").addEventListener("click", () => this.showCard());
    $("delete-person").addEventListener("click", () => this.askDelete());
    $("delete-confirm").addEventListener("click", () => this.reallyDelete());
  }

  async refresh() {
    const people = await get("/api/people");
    this.names = people.map((person) => person.name);
    $("people").replaceChildren(...people.map((person) => this.entry(person)));
    this.mark();
  }

  entry({ name, version }) {
    const picture = make("img", {
      src: `/api/people/${enc(name)}/neutral.jpg?v=${version}`,
      alt: "",
      loading: "lazy",
      width: 56,
      height: 56,
    });
    const button = make("button", { type: "button" }, picture, make("span", {}, name));
    button.dataset.person = name;
    button.addEventListener("click", () => this.choose(name));
    return make("li", {}, button);
  }

  choose(name) {
    this.chosen = name;
    this.mark();
    this.chose(name);
  }

  mark() {
    for (const button of $("people").querySelectorAll("button")) {
      const here = button.dataset.person === this.chosen;
      if (here) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  async showCard() {
    let rows;
    try {
      const card = await get(`/api/people/${enc(this.chosen)}`);
      const consent = card.consent?.statement;
      const by = card.consent?.by ? `, stated by ${card.consent.by}` : "";
      rows = [
        ["Made", card.date?.replace("T", ", ").slice(0, 17)],
        ["From", `${card.images} ${card.images === 1 ? "photo" : "photos"}`],
        ["Frames", `${card.resolution} × ${card.resolution} pixels`],
        ["Likeness", `${number(card.face_similarity)} of 1`],
        ["Gaze", card.gaze ? "can be moved" : "stays as in the photo"],
        ["Watermark", card.watermark?.present ? `in every frame, ${card.watermark.id}` : "none"],
        ["Consent", consent ? `${consent}${by}` : "none was stated"],
        ["Photos", card.photo_notice ?? "not in the avatar"],
        ["Notice", card.notice],
      ];
    } catch (error) {
      rows = [["Error", error.message]];
    }
    $("card-title").textContent = this.chosen;
    $("card").replaceChildren(
      ...rows.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text ?? "not known")]),
    );
    $("card-dialog").showModal();
  }

  askDelete() {
    $("delete-title").textContent = `Delete ${this.chosen}?`;
    $("delete-text").textContent =
      "The avatar, the photos in it, its versions and its films are removed from this machine. " +
      "This cannot be undone.";
    $("delete-status").textContent = "";
    $("delete-dialog").showModal();
  }

  async reallyDelete() {
    const button = $("delete-confirm");
    button.disabled = true;
    $("delete-status").textContent = "Deleting …";
    try {
      await remove(`/api/people/${enc(this.chosen)}`);
      $("delete-dialog").close();
      await this.refresh();
      this.choose(this.names[0] ?? null);
    } catch (error) {
      $("delete-status").textContent = error.message;
    } finally {
      button.disabled = false;
    }
  }
}
