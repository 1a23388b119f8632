// What the document's browser code uses and Node does not have: the page, and the download that a click on a link starts.
import { writeFileSync } from "node:fs";

const kept = new Map();

globalThis.window = {
  URL: {
    createObjectURL(blob) {
      const url = `blob:${kept.size}`;
      kept.set(url, blob);
      return url;
    },
  },
};
globalThis.downloads = [];
globalThis.document = {
  createElement: (name) => ({
    name,
    click() {
      const saved = kept.get(this.href).arrayBuffer().then((data) => writeFileSync(this.download, Buffer.from(data)));
      globalThis.downloads.push(saved);
    },
  }),
};
