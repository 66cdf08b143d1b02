// Requests to the studio. Each returns the answer, or throws an Error with the studio's message.

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer: is it still running?");
  }
  const given = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(given.error || `The studio answered ${answer.status}.`);
  return given;
}

export const get = (path) => asked(path);
export const post = (path, given = {}) =>
  asked(path, { method: "POST", body: JSON.stringify(given) });
export const remove = (path) => asked(path, { method: "DELETE" });

// Sends a file as the request's body; `told(share)` is called with the share sent so far, 0 to 1.
export function put(path, file, told = () => {}) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", path);
    request.upload.onprogress = (event) => told(event.loaded / Math.max(event.total, 1));
    request.onerror = () =>
      failed(new Error("The file could not be sent: it is too large, or the studio has ended."));
    request.onload = () => {
      let given = {};
      try {
        given = JSON.parse(request.responseText);
      } catch {
        given = { error: `The studio answered ${request.status}.` };
      }
      if (request.status >= 400) failed(new Error(given.error));
      else done(given);
    };
    request.send(file);
  });
}

export const enc = encodeURIComponent;
export const $ = (id) => document.getElementById(id);

// Makes an element: make("li", { className: "good" }, "text", child)
export function make(name, given = {}, ...children) {
  const element = Object.assign(document.createElement(name), given);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Polls a job until its end and returns its result; `told(job)` is called with each answer.
export async function follow(id, told) {
  for (;;) {
    const job = await get(`/api/jobs/${id}`);
    told(job);
    if (job.state === "done") return job.result;
    if (job.state === "failed" || job.state === "cancelled") throw new Error(job.error);
    await sleep(400);
  }
}

export function timeLeft(job) {
  if (job.seconds_left === null) return job.stage || job.state;
  const seconds = Math.max(1, Math.round(job.seconds_left));
  const words = seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
  return `${job.stage}, about ${words} left`;
}

// Connects a file input and its label, on which files can be dropped; `took(files)` is called.
export function dropZone(label, input, took) {
  const stop = (event) => event.preventDefault();
  label.addEventListener("dragover", (event) => {
    stop(event);
    label.classList.add("over");
  });
  label.addEventListener("dragleave", () => label.classList.remove("over"));
  label.addEventListener("drop", (event) => {
    stop(event);
    label.classList.remove("over");
    if (event.dataTransfer.files.length) took([...event.dataTransfer.files]);
  });
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) took(files);
  });
}
