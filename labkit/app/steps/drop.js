// A place to drop a picture. The page decodes it and sends its pixels at the size that the model reads.

const BIGGEST = 4096; // pixels of a side, after which a picture is refused

function render({ model, el }) {
  el.classList.add("lk-drop");
  const label = document.createElement("label");
  const text = document.createElement("span");
  const input = document.createElement("input");
  const canvas = document.createElement("canvas");
  const said = document.createElement("span");
  input.type = "file";
  input.accept = "image/*";
  label.append(text, input);
  el.append(label, canvas, said);
  said.setAttribute("role", "status");

  const show = () => {
    text.textContent = model.get("label");
    [canvas.height, canvas.width] = model.get("size");
    canvas.hidden = true;
  };
  const read = async (file) => {
    if (!file) return;
    try {
      const picture = await createImageBitmap(file);
      const [tall, wide] = model.get("size");
      if (Math.max(picture.width, picture.height) > BIGGEST) throw new Error(`> ${BIGGEST} px`);
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      const side = Math.min(picture.width / wide, picture.height / tall); // the middle, in the model's proportions
      const [w, h] = [wide * side, tall * side];
      pen.clearRect(0, 0, wide, tall);
      pen.imageSmoothingQuality = "high";
      pen.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, wide, tall);
      canvas.hidden = false;
      said.textContent = file.name;
      model.send({ type: "picture", size: [tall, wide] }, undefined, [pen.getImageData(0, 0, wide, tall).data.buffer]);
    } catch (error) {
      said.textContent = "";
      model.send({ type: "refused", name: file.name, error: String(error) });
    }
  };
  input.addEventListener("change", () => read(input.files[0]));
  el.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.add("lk-over");
  });
  el.addEventListener("dragleave", () => el.classList.remove("lk-over"));
  el.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.remove("lk-over");
    read(event.dataTransfer.files[0]);
  });
  model.on("change:label change:size", show);
  show();
  return () => model.off("change:label change:size", show);
}

export default { render };
