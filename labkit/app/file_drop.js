// A place to drop a file on; it is given to the upload control of the same row.

function render({ model, el }) {
  const place = document.createElement("div");
  place.className = "lk-file-drop";
  place.textContent = model.get("label");
  model.on("change:label", () => (place.textContent = model.get("label")));
  const over = (event, on) => {
    event.preventDefault();
    event.stopPropagation();
    place.classList.toggle("lk-file-drop-over", on);
  };
  place.addEventListener("dragenter", (event) => over(event, true));
  place.addEventListener("dragover", (event) => over(event, true));
  place.addEventListener("dragleave", (event) => over(event, false));
  place.addEventListener("drop", (event) => {
    over(event, false);
    const input = el.closest(".lk-form")?.querySelector(".widget-upload input[type=file], input.widget-upload");
    if (!input || !event.dataTransfer?.files.length) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  el.append(place);
}

export default { render };
