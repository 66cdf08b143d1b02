// Sends the microphone's sound to the studio, as messages of moment, rate and 16-bit samples.

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

  // Sends `samples`, the first of which was heard at `time`, seconds of the audio clock.
  told({ time, samples }) {
    const now = performance.now();
    // Offset of the page's clock from the audio clock; the least one seen has the least delay in it.
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
