// Live driving of the chosen avatar: sends slider positions and camera frames, shows its frames.

import { enc } from "./api.js";
import { Microphone } from "./microphone.js";

const FRAME = 1;
const IN_FLIGHT = 2; // unanswered camera frames at most; until then no newer one is sent
const PATIENCE = 2000; // ms after which an unanswered frame no longer counts
const WIDTH = 448; // pixels of a camera frame that is sent
const KEPT = 60; // newest measurements, of which the median is shown

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)] ?? null;

export class Live {
  constructor(parts) {
    Object.assign(this, parts);
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.grabber = document.createElement("canvas");
    this.grab = this.grabber.getContext("2d", { alpha: false, willReadFrequently: true });
    this.person = this.socket = this.stream = this.microphone = null;
    this.settings = { expression: {}, strengths: {} };
    this.forgetFigures();
    this.camera.addEventListener("click", () => this.toggleCamera());
    this.calibrate.addEventListener("click", () => {
      this.send({ type: "rest" });
      this.say("Look straight ahead with a neutral face for two seconds.", true);
    });
    this.record.addEventListener("click", () => this.toggleRecord());
    setInterval(() => this.showFigures(), 500);
  }

  forgetFigures() {
    this.waiting = []; // moments of the camera frames not answered yet
    this.poses = new Map(); // tag -> when the slider moved
    this.tag = 0;
    this.delays = [];
    this.reactions = [];
    this.shown = []; // when frames were drawn, within the last two seconds
    this.frames = 0;
    this.busy = false;
  }

  // Shows a text below the picture; a hint disappears after five seconds.
  say(text, hint = false) {
    this.status.textContent = text;
    clearTimeout(this.hinting);
    if (hint) this.hinting = setTimeout(() => this.say(""), 5000);
  }

  // Connects to an avatar, null for none; `ready({gaze})` is called when it can be moved.
  connect(person, ready) {
    this.stopCamera();
    const old = this.socket;
    this.socket = null;
    old?.close();
    this.person = person;
    this.forgetFigures();
    this.settings = { expression: {}, strengths: {} };
    this.allow(false);
    if (person === null) return;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live/${enc(person)}`);
    socket.binaryType = "arraybuffer";
    let refused = null;
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (typeof data === "string") {
        const given = JSON.parse(data);
        if (given.type === "ready") {
          this.allow(true);
          this.say("");
          ready(given);
          this.sendPose();
        } else if (given.type === "refused") refused = given.why;
        else this.heard(given);
      } else this.draw(data);
    };
    socket.onclose = () => {
      if (socket !== this.socket) return;
      this.socket = null;
      this.stopCamera();
      this.allow(false);
      this.say(refused ?? "The connection ended; trying again.");
      setTimeout(() => {
        if (this.person === person && this.socket === null) this.connect(person, ready);
      }, refused ? 5000 : 1000);
    };
    this.socket = socket;
  }

  allow(on) {
    const secure = window.isSecureContext && !!navigator.mediaDevices;
    this.camera.disabled = !on || !secure;
    this.record.disabled = !on;
    this.calibrate.disabled = !(on && this.stream);
    if (on && !secure) {
      this.say("The camera is off: browsers allow it only over https. Start the studio with " +
        "--tls_cert and --tls_key.");
    }
  }

  send(given) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(given));
  }

  pose(expression, strengths) {
    this.settings = { expression, strengths };
    this.sendPose();
  }

  sendPose() {
    const now = performance.now();
    this.tag += 1;
    this.poses.set(this.tag, now);
    this.send({ type: "pose", tag: this.tag, now, ...this.settings });
  }

  async draw(data) {
    const length = new DataView(data).getUint32(0, true);
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    if (head.moment !== null) this.waiting = this.waiting.filter((moment) => moment > head.moment);
    this.seen = head.seen;
    this.dropped = head.dropped;
    if (data.byteLength === 4 + length) return; // no face yet
    const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)]));
    if (this.canvas.width !== picture.width) {
      this.canvas.width = picture.width;
      this.canvas.height = picture.height;
    }
    this.context.drawImage(picture, 0, 0);
    picture.close();
    const now = performance.now();
    this.frames += 1;
    this.shown.push(now);
    if (head.moment !== null) this.note(this.delays, now - head.moment);
    for (const [tag, since] of this.poses) {
      if (tag > (head.tag ?? 0)) break;
      if (tag === head.tag) this.note(this.reactions, now - since);
      this.poses.delete(tag);
    }
  }

  note(list, value) {
    list.push(value);
    if (list.length > KEPT) list.shift();
  }

  get measured() {
    const now = performance.now();
    this.shown = this.shown.filter((moment) => now - moment < 2000);
    return {
      frames: this.frames,
      fps: this.shown.length / 2,
      delay: median(this.delays),
      reaction: median(this.reactions),
      seen: this.seen,
      dropped: this.dropped,
    };
  }

  showFigures() {
    if (!this.stream) {
      this.figures.textContent = "";
      return;
    }
    const { fps, delay, seen } = this.measured;
    const late = delay === null ? "" : ` · ${Math.round(delay)} ms behind`;
    const face = seen === false ? " · no face: the last pose is held" : "";
    this.figures.textContent = `${fps.toFixed(0)} frames a second${late}${face}`;
  }

  async toggleCamera() {
    if (this.stream) {
      this.stopCamera();
      return;
    }
    this.say("Waiting for the camera …");
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({
        video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } },
      });
    } catch (error) {
      this.say(`The camera cannot be used: ${error.message || error.name}.`);
      return;
    }
    this.preview.srcObject = this.stream;
    this.preview.hidden = false;
    await this.preview.play();
    this.camera.setAttribute("aria-pressed", "true");
    this.calibrate.disabled = false;
    this.delays = [];
    this.send({ type: "camera", on: true });
    this.say("Look straight ahead for two seconds: your neutral face sets the avatar's.", true);
    this.preview.requestVideoFrameCallback((now, about) => this.onFrame(about));
  }

  stopCamera() {
    if (!this.stream) return;
    for (const track of this.stream.getTracks()) track.stop();
    this.stream = this.preview.srcObject = null;
    this.preview.hidden = true;
    this.camera.setAttribute("aria-pressed", "false");
    this.calibrate.disabled = true;
    this.waiting = [];
    this.send({ type: "camera", on: false });
    this.sendPose();
    this.say("");
  }

  onFrame(about) {
    if (!this.stream) return;
    this.preview.requestVideoFrameCallback((now, next) => this.onFrame(next));
    const now = performance.now();
    const age = now - (about.captureTime ?? now);
    this.waiting = this.waiting.filter((moment) => now - moment < PATIENCE);
    if (this.busy || this.waiting.length >= IN_FLIGHT || !this.preview.videoWidth) return;
    const moment = age > 0 && age < 1000 ? now - age : now;
    this.waiting.push(moment);
    const scale = Math.min(1, WIDTH / this.preview.videoWidth);
    this.grabber.width = Math.round(this.preview.videoWidth * scale);
    this.grabber.height = Math.round(this.preview.videoHeight * scale);
    this.grab.drawImage(this.preview, 0, 0, this.grabber.width, this.grabber.height);
    this.busy = true;
    this.grabber.toBlob((blob) => this.sendFrame(blob, moment), "image/jpeg", 0.8);
  }

  async sendFrame(blob, moment) {
    const message = new Uint8Array(9 + blob.size);
    message[0] = FRAME;
    new DataView(message.buffer).setFloat64(1, moment, true);
    message.set(new Uint8Array(await blob.arrayBuffer()), 9);
    this.busy = false;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(message);
  }

  async toggleRecord() {
    if (this.record.getAttribute("aria-pressed") === "true") {
      this.send({ type: "record", on: false });
      return;
    }
    let trouble = "";
    if (this.sound.checked) {
      this.microphone = new Microphone((message) => this.socket?.send(message));
      try {
        await this.microphone.open();
      } catch (error) {
        this.microphone = null;
        trouble = ` Without sound: ${error.message || error.name}.`;
      }
    }
    this.send({ type: "record", on: true });
    this.sendPose(); // so that there is a first frame even if nothing moves
    this.say(`Recording.${trouble}`);
  }

  heard({ type, job }) {
    const recording = type === "recording";
    this.record.setAttribute("aria-pressed", String(recording));
    this.record.textContent = recording ? "Stop" : "Record";
    if (recording) return;
    this.microphone?.close();
    this.microphone = null;
    this.say("");
    this.recorded(job);
  }
}
