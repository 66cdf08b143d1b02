// The dialog "New person": photos and the face found in each, consent, and making the avatar.

import { $, dropZone, enc, follow, make, post, put, remove, timeLeft } from "./api.js";

export class NewPerson {
  // `made(name)` is called when the avatar is finished.
  constructor(about, made) {
    this.made = made;
    this.draft = this.camera = this.job = null;
    this.shot = 0;
    $("consent-text").textContent = about.consent;
    const { photo_mb, photo_megapixels, film_minutes } = about.limits;
    $("photo-drop").title =
      `Pictures up to ${photo_mb} MB and ${photo_megapixels} megapixels, clips up to ${film_minutes} minutes`;
    dropZone($("photo-drop"), $("photos"), (files) => this.add(files));
    $("shoot-open").addEventListener("click", () => this.openCamera());
    $("shoot-take").addEventListener("click", () => this.take());
    $("person-make").addEventListener("click", () => this.begin());
    $("person-cancel").addEventListener("click", () => $("person-dialog").close());
    $("person-dialog").addEventListener("close", () => this.leave());
  }

  open() {
    $("shots").replaceChildren();
    for (const id of ["person-name", "stated-by"]) $(id).value = "";
    $("agreed").checked = false;
    $("making").hidden = true;
    this.busy(false);
    this.say("");
    $("person-dialog").showModal();
    // Photos may be dropped before the studio has answered.
    this.draft = post("/api/drafts").then(({ draft }) => draft);
    this.draft.catch((error) => this.say(error.message));
  }

  leave() {
    this.closeCamera();
    if (this.job) remove(`/api/jobs/${this.job}`).catch(() => {});
    this.draft?.then((draft) => remove(`/api/drafts/${draft}`)).catch(() => {});
    this.draft = this.job = null;
  }

  say(text) {
    $("person-status").textContent = text;
  }

  async add(files) {
    await Promise.all(files.map((file) => this.addOne(file)));
  }

  async addOne(file) {
    const drafted = this.draft;
    const element = make("li", {}, make("span", { className: "hint" }, `${file.name} …`));
    $("shots").append(element);
    let found, draft;
    try {
      draft = await drafted;
      found = await put(`/api/drafts/${draft}/files?name=${enc(file.name)}`, file);
    } catch (error) {
      found = { id: null, name: file.name, good: false, why: error.message, crops: [] };
    }
    element.className = found.good ? "good" : "bad";
    const drop = make("button", { type: "button", className: "quiet" }, "Remove");
    drop.setAttribute("aria-label", `Remove ${found.name}`);
    drop.addEventListener("click", () => {
      element.remove();
      if (found.id) remove(`/api/drafts/${draft}/files/${found.id}`).catch(() => {});
    });
    const words = found.good ? found.name : `${found.name}: ${found.why}`;
    element.replaceChildren(
      ...found.crops.map((crop) => this.crop(crop, found.name)),
      make("span", { className: "hint" }, words),
      drop,
    );
  }

  crop({ picture, landmarks }, name) {
    const space = "http://www.w3.org/2000/svg";
    const drawing = document.createElementNS(space, "svg");
    drawing.setAttribute("viewBox", "0 0 1 1");
    drawing.setAttribute("aria-hidden", "true");
    for (const [x, y] of landmarks) {
      const dot = document.createElementNS(space, "circle");
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", y);
      dot.setAttribute("r", 0.011);
      drawing.append(dot);
    }
    return make(
      "div",
      { className: "crop" },
      make("img", { src: picture, alt: `The face found in ${name}` }),
      drawing,
    );
  }

  async openCamera() {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      this.say("The camera is off: browsers allow it only over https. Start the studio with " +
        "--tls_cert and --tls_key.");
      return;
    }
    try {
      this.camera = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 1280 }, height: { ideal: 720 } },
      });
    } catch (error) {
      this.say(`The camera cannot be used: ${error.message || error.name}.`);
      return;
    }
    $("shoot-video").srcObject = this.camera;
    $("shoot").hidden = false;
    $("shoot-open").hidden = true;
    await $("shoot-video").play();
    $("shoot-take").focus();
  }

  closeCamera() {
    for (const track of this.camera?.getTracks() ?? []) track.stop();
    this.camera = $("shoot-video").srcObject = null;
    $("shoot").hidden = true;
    $("shoot-open").hidden = false;
  }

  take() {
    const video = $("shoot-video");
    const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    this.shot += 1;
    const name = `camera ${this.shot}.jpg`;
    canvas.toBlob((blob) => this.addOne(new File([blob], name)), "image/jpeg", 0.95);
  }

  busy(on) {
    for (const id of ["person-make", "photos", "person-name", "agreed", "shoot-take"]) {
      $(id).disabled = on;
    }
  }

  async begin() {
    this.busy(true);
    this.say("");
    const name = $("person-name").value.trim();
    try {
      const { job } = await post("/api/people", {
        draft: await this.draft,
        name,
        agreed: $("agreed").checked,
        by: $("stated-by").value,
      });
      this.job = job;
      this.closeCamera();
      $("making").hidden = false;
      await follow(job, (seen) => {
        if (seen.share === null) $("making-bar").removeAttribute("value");
        else $("making-bar").value = seen.share;
        $("making-text").textContent = timeLeft(seen);
      });
      this.job = null;
      $("person-dialog").close();
      await this.made(name);
    } catch (error) {
      this.job = null;
      $("making").hidden = true;
      this.busy(false);
      this.say(error.message);
    }
  }
}
