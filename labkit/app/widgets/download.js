// A download link. JupyterLab and Notebook serve a file beside the notebook; elsewhere it comes in parts by messages.

const PAUSE = 400; // milliseconds between parts of 256 KB: Jupyter Server drops more than 1 MB a second

function served(model) {
  const notebook = model.widget_manager?.context?.path, file = model.get("file");
  if (!file || notebook === undefined || !document.getElementById("jupyter-config-data")) return "";
  const settings = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  if (!/JupyterLab|Notebook/i.test(settings.appName ?? "")) return "";
  const path = [...notebook.replace(/^[A-Za-z]+:/, "").split("/").slice(0, -1), ...file.split("/")].filter(Boolean);
  return `${settings.baseUrl ?? "/"}files/${path.map(encodeURIComponent).join("/")}`;
}

function render({ model, el }) {
  const link = document.createElement("a");
  link.className = "jupyter-button lk-link";
  let parts = [], got = 0, busy = false, timer = 0;

  const show = () => {
    const name = model.get("name");
    link.hidden = !name;
    el.hidden = !name;
    link.textContent = busy ? `${model.get("label")} ${Math.floor((100 * got) / (model.get("size") || 1))} %` : model.get("label");
    link.title = name;
    link.download = name;
    link.href = served(model) || "#";
  };
  const reset = () => {
    [parts, got, busy] = [[], 0, false];
    clearTimeout(timer);
    show();
  };
  const ask = () => {
    model.send({ type: "part", start: got });
    clearTimeout(timer);
    timer = setTimeout(ask, 8000); // a message was lost
  };
  const follow = (address) => {
    const one = Object.assign(document.createElement("a"), { href: address, download: model.get("name") });
    document.body.append(one);
    one.click();
    one.remove();
  };
  const save = () => {
    const address = URL.createObjectURL(new Blob(parts));
    follow(address);
    setTimeout(() => URL.revokeObjectURL(address), 60000);
    reset();
  };
  const take = (content, buffers) => {
    if (content.type === "failed") return reset();
    if (content.type !== "part" || !busy || content.start !== got || content.name !== model.get("name")) return;
    const part = new Uint8Array(buffers[0].buffer ?? buffers[0], buffers[0].byteOffset ?? 0, buffers[0].byteLength);
    parts.push(part.slice());
    got += part.byteLength;
    show();
    clearTimeout(timer);
    if (got >= content.size || !part.byteLength) save();
    else timer = setTimeout(ask, model.get("paced") ? PAUSE : 0);
  };
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    if (busy) return;
    const address = served(model);
    // the kernel may work in another folder than that of the notebook: then the server has no such file
    if (address && (await fetch(address, { method: "HEAD" }).catch(() => null))?.ok) return follow(address);
    reset();
    busy = true;
    ask();
  });
  model.on("change:name change:file change:label", reset);
  model.on("msg:custom", take);
  show();
  el.append(link);
  return () => {
    clearTimeout(timer);
    model.off("change:name change:file change:label", reset);
    model.off("msg:custom", take);
  };
}

export default { render };
