// A button that puts a text on the clipboard. Only the page can do that, and only while it handles a click.

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea"); // where the clipboard is closed to scripts
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button lk-copy";
  const show = () => {
    button.textContent = model.get("label");
    button.title = model.get("help");
    button.disabled = !model.get("text");
  };
  button.addEventListener("click", async () => {
    button.textContent = (await copy(model.get("text"))) ? model.get("copied") : model.get("failed");
    setTimeout(show, 1500);
  });
  model.on("change", show);
  button.setAttribute("aria-live", "polite");
  show();
  el.append(button);
}

export default { render };
