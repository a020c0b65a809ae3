// Browsers give no worker to a page that was opened from disk. The site's search runs in one; here
// it gets a hidden frame that behaves like one, so that search works without any web server.
if (location.protocol === "file:") {
  class FrameWorker extends EventTarget {
    constructor(script) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.append(this.frame);
      this.inside = this.frame.contentWindow;
      // What the script says to its starter comes out as events of this object.
      this.inside.postMessage = (data) =>
        this.dispatchEvent(new MessageEvent("message", { data }));
      this.inside.importScripts = (...addresses) =>
        addresses.reduce((before, it) => before.then(() => this.load(it)), Promise.resolve());
      this.loaded = this.load(script);
    }

    load(address) {
      return new Promise((resolve, reject) => {
        const element = this.inside.document.createElement("script");
        element.src = new URL(address, document.baseURI).href;
        element.onload = resolve;
        element.onerror = () => reject(new Error(`cannot load ${element.src}`));
        this.inside.document.body.append(element);
      });
    }

    postMessage(data) {
      this.loaded.then(() =>
        this.inside.dispatchEvent(new MessageEvent("message", { data })),
      );
    }

    terminate() {
      this.frame.remove();
    }
  }
  // By this name the search script recognises that it is in a frame.
  window.IFrameWorker = window.Worker = FrameWorker;
}
