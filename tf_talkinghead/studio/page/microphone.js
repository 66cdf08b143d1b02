// The microphone's sound as messages for the studio: moment, rate, 16-bit samples.

const SOUND = 2;

export class Microphone {
  constructor(send) {
    this.send = send;
  }

  async open() {
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/page/sound-worklet.js");
    this.node = new AudioWorkletNode(this.context, "sound", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => this.told(data);
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    await this.context.resume();
  }

  // `samples` were heard from `time`, seconds of the audio clock, on.
  told({ time, samples }) {
    const now = performance.now();
    // The audio clock against the page's: the least difference is the one with the least waiting.
    const offset = now - 1000 * (time + samples.length / this.context.sampleRate);
    this.offset = Math.min(this.offset ?? offset, offset);
    const message = new ArrayBuffer(13 + 2 * samples.length);
    const view = new DataView(message);
    view.setUint8(0, SOUND);
    view.setFloat64(1, this.offset + 1000 * time, true);
    view.setUint32(9, this.context.sampleRate, true);
    for (let i = 0; i < samples.length; i += 1) {
      view.setInt16(13 + 2 * i, Math.max(-1, Math.min(1, samples[i])) * 32767, true);
    }
    this.send(message);
  }

  close() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.context?.close();
  }
}
