// Runs in the audio thread: collects blocks of 128 samples into pieces of a tenth of a second.

class Sound extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(sampleRate / 10);
    this.restart();
  }

  restart() {
    this.samples = new Float32Array(this.size);
    this.count = 0;
  }

  process([input]) {
    const channel = input[0];
    if (!channel) return true;
    if (this.count === 0) this.time = currentTime;
    const part = channel.subarray(0, Math.min(channel.length, this.size - this.count));
    this.samples.set(part, this.count);
    this.count += part.length;
    if (this.count === this.size) {
      this.port.postMessage({ time: this.time, samples: this.samples }, [this.samples.buffer]);
      this.restart();
      const rest = channel.subarray(part.length);
      if (rest.length) {
        this.time = currentTime + part.length / sampleRate;
        this.samples.set(rest, 0);
        this.count = rest.length;
      }
    }
    return true;
  }
}

registerProcessor("sound", Sound);
