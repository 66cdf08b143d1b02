// Films: starts one driven by a file, shows the progress of jobs, and lists the finished films.

import { $, dropZone, enc, follow, get, make, put, remove, timeLeft } from "./api.js";

export class Films {
  // `settings()` returns the present person, expression and strengths.
  constructor(settings) {
    this.settings = settings;
    this.watched = new Set();
    dropZone($("film-drop"), $("film"), (files) => this.drive(files[0]));
  }

  async drive(file) {
    const { person, expression, strengths } = this.settings();
    const shape = document.querySelector("input[name=shape]:checked").value;
    const wanted = { expression, strengths };
    if (shape) wanted[shape] = true;
    const entry = this.entry(file.name);
    try {
      const query = `name=${enc(file.name)}&wanted=${enc(JSON.stringify(wanted))}`;
      const { job } = await put(`/api/people/${enc(person)}/films?${query}`, file, (share) =>
        entry.tell({ stage: "sending", share, seconds_left: null }),
      );
      await this.watch(job, entry);
    } catch (error) {
      entry.fail(error.message);
    }
  }

  // Shows a job's progress until its film is finished.
  async watch(id, entry = null) {
    if (this.watched.has(id)) return;
    this.watched.add(id);
    let shown = entry;
    try {
      await follow(id, (job) => {
        shown ??= this.entry(job.title);
        shown.tell(job);
        shown.stop.hidden = false;
        shown.stop.onclick = () => remove(`/api/jobs/${id}`).catch(() => {});
      });
      shown.element.remove();
      await this.refresh();
    } catch (error) {
      shown?.fail(error.message);
    }
  }

  // Shows the jobs that were running before the page was loaded.
  async resume() {
    for (const job of await get("/api/jobs")) {
      if ((job.state === "running" || job.state === "waiting") && job.kind !== "avatar") {
        this.watch(job.id);
      }
    }
  }

  entry(title) {
    const bar = make("progress", { max: 1 });
    bar.setAttribute("aria-label", title);
    const text = make("span", { className: "hint" });
    text.setAttribute("role", "status");
    const stop = make("button", { type: "button", className: "quiet", hidden: true }, "Cancel");
    const element = make("li", {}, make("strong", {}, title), bar, text, stop);
    $("jobs").prepend(element);
    return {
      element,
      stop,
      tell(job) {
        if (job.share === null) bar.removeAttribute("value");
        else bar.value = job.share;
        text.textContent = timeLeft(job);
      },
      fail(why) {
        bar.remove();
        text.textContent = why;
        stop.hidden = false;
        stop.textContent = "Dismiss";
        stop.onclick = () => element.remove();
      },
    };
  }

  async refresh() {
    const films = await get("/api/films").catch(() => []);
    $("films-title").hidden = films.length === 0;
    $("films").replaceChildren(...films.map((film) => this.film(film)));
  }

  film(film) {
    const address = `/films/${enc(film.person)}/${film.id}.mp4`;
    const video = make("video", { controls: true, preload: "metadata", src: address });
    const name = `${film.person}, ${film.title}`;
    video.setAttribute("aria-label", name);
    const length = `${film.seconds.toFixed(1)} s${film.sound ? "" : ", no sound"}`;
    const save = make("a", { href: `${address}?save`, className: "quiet", download: "" }, "Download");
    save.setAttribute("aria-label", `Download ${name}`);
    const drop = make("button", { type: "button", className: "quiet" }, "Delete");
    drop.setAttribute("aria-label", `Delete ${name}`);
    drop.addEventListener("click", async () => {
      await remove(`/api/films/${enc(film.person)}/${film.id}`).catch(() => {});
      await this.refresh();
      $("films").querySelector("button")?.focus();
    });
    const text = make("div", {}, make("strong", {}, film.title));
    text.append(make("span", { className: "hint" }, `${film.person} · ${length}`));
    return make("li", {}, video, text, make("div", { className: "film-tools" }, save, drop));
  }
}
