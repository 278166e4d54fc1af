/* Search without a server: browsers start no worker from a file, so a hidden frame takes its place.
   Material loads this before its own scripts (`extra.polyfills` in mkdocs.yml). */
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.onmessage = null
      window.addEventListener("message", event => {
        if (event.source !== frame.contentWindow) return
        const copy = new MessageEvent("message", { data: event.data })
        if (this.onmessage) this.onmessage(copy)
        this.dispatchEvent(copy)
      })
      const inside = frame.contentWindow
      inside.document.open()
      inside.document.write(
        "<script>postMessage = message => parent.postMessage(message, '*')\n" +
        "importScripts = async (...urls) => { for (const url of urls) await new Promise((ready, failed) => {\n" +
        "const script = document.createElement('script')\n" +
        "Object.assign(script, { src: url, onload: ready, onerror: failed })\n" +
        "document.head.appendChild(script) }) }<\/script>" +
        `<script src="${new URL(url, location.href)}"><\/script>`
      )
      inside.document.close()
      this.ready = new Promise(loaded => frame.addEventListener("load", loaded))
      this.inside = inside
    }

    postMessage(data) {
      this.ready.then(() =>
        this.inside.dispatchEvent(new MessageEvent("message", { data, source: window }))
      )
    }

    terminate() {}
  }
  window.Worker = window.IFrameWorker
}
