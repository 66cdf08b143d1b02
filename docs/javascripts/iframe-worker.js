// Browsers start no workers for pages opened from a folder (file://), and the site's search runs in one. Here its script runs in a
// hidden frame instead, which gets and sends the same messages.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      inner.document.open(); // or the browser may replace the empty document later
      inner.document.write("<body>");
      inner.document.close();
      inner.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.waiting = [];
      this.deliver = (data) => this.waiting.push(data);
      const script = inner.document.createElement("script");
      script.src = url;
      script.onload = () => {
        this.deliver = (data) => inner.dispatchEvent(new inner.MessageEvent("message", { data }));
        this.waiting.forEach(this.deliver);
      };
      inner.document.body.append(script);
      this.terminate = () => frame.remove();
    }

    postMessage(data) {
      this.deliver(data);
    }
  };
}
