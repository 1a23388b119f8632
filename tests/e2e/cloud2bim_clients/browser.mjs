// What the document's browser code uses and Node does not have: EventSource (HTML standard, section 9.2), and the page's elements.
import { readFile } from "node:fs/promises";

const CONNECTING = 0, OPEN = 1, CLOSED = 2;

class EventSource extends EventTarget {
  constructor(url) {
    super();
    this.url = new URL(url, globalThis.origin).href;
    this.readyState = CONNECTING;
    this.onopen = this.onmessage = this.onerror = null;
    this.lastEventId = "";
    this.retryMs = 100;
    this.abort = new AbortController();
    this.connect();
  }

  close() {
    this.readyState = CLOSED;
    this.abort.abort();
  }

  fire(event) {
    if (this.readyState === CLOSED) return;
    // An event that the server names "error" reaches onerror too: a handler is a listener of that name.
    this["on" + event.type]?.call(this, event);
    this.dispatchEvent(event);
  }

  async connect() {
    while (this.readyState !== CLOSED) {
      try {
        const headers = { Accept: "text/event-stream" };
        if (this.lastEventId) headers["Last-Event-ID"] = this.lastEventId;
        const response = await fetch(this.url, { headers, signal: this.abort.signal });
        if (response.status !== 200 || !response.headers.get("Content-Type").startsWith("text/event-stream")) break;
        this.readyState = OPEN;
        this.fire(new Event("open"));
        await this.read(response.body);
      } catch (error) {
        if (this.readyState === CLOSED) return;
      }
      if (this.readyState === CLOSED) return;
      this.readyState = CONNECTING;
      this.fire(new Event("error"));
      await new Promise((done) => setTimeout(done, this.retryMs));
    }
    if (this.readyState === CLOSED) return;
    this.readyState = OPEN;
    this.fire(new Event("error"));
    this.readyState = CLOSED;
  }

  async read(body) {
    const decoder = new TextDecoder();
    let rest = "", data = [], type = "", id = this.lastEventId;
    for await (const chunk of body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          this.lastEventId = id;
          if (data.length) {
            this.fire(new MessageEvent(type || "message", { data: data.join("\n"), lastEventId: id }));
          }
          data = [];
          type = "";
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") data.push(value);
        else if (field === "event") type = value;
        else if (field === "id") id = value;
      }
      if (this.readyState === CLOSED) return;
    }
  }
}

globalThis.EventSource = EventSource;
globalThis.origin = process.env.BASE_URL;
globalThis.pointCloudFile = new File([await readFile("building_scan.ptx")], "building_scan.ptx");
globalThis.configFile = new File([await readFile("config.yaml")], "config.yaml");
globalThis.document = {
  getElementById: (id) => ({ files: [globalThis[id]] }),
  createElement: (name) => ({ name, click() { console.log(`${this.download}: ${this.href.split(":", 1)[0]}`); } }),
};
