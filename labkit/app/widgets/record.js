// A microphone and a place for a sound file. The page decodes what it hears and sends 16-bit samples of one channel at
// the rate that the model reads.

async function samples(data, rate) {
  const context = new AudioContext();
  try {
    const heard = await context.decodeAudioData(data);
    const length = Math.max(1, Math.ceil(heard.duration * rate));
    const offline = new OfflineAudioContext(1, length, rate);
    const source = offline.createBufferSource();
    source.buffer = heard;
    source.connect(offline.destination);
    source.start();
    const values = (await offline.startRendering()).getChannelData(0);
    return Int16Array.from(values, (value) => Math.round(32767 * Math.max(-1, Math.min(1, value))));
  } finally {
    await context.close();
  }
}

function render({ model, el }) {
  el.classList.add("lk-record");
  const button = document.createElement("button");
  const label = document.createElement("label");
  const text = document.createElement("span");
  const input = document.createElement("input");
  const said = document.createElement("span");
  let recorder = null;
  let parts = [];
  button.type = "button";
  button.className = "jupyter-button";
  input.type = "file";
  input.accept = "audio/*,.wav";
  said.setAttribute("role", "status");
  label.append(text, input);
  el.append(button, label, said);

  const show = () => {
    button.textContent = model.get(recorder ? "stop" : "record");
    button.setAttribute("aria-pressed", String(Boolean(recorder)));
    text.textContent = model.get("label");
  };
  const refuse = (name, error) => {
    said.textContent = "";
    model.send({ type: "refused", name, error: String(error) });
  };
  const read = async (blob, name) => {
    try {
      const found = await samples(await blob.arrayBuffer(), model.get("rate"));
      said.textContent = name;
      model.send({ type: "sound", name }, undefined, [found.buffer]);
    } catch (error) {
      refuse(name, error);
    }
  };
  const end = () => {
    if (recorder && recorder.state !== "inactive") recorder.stop();
  };
  button.addEventListener("click", async () => {
    if (recorder) return end();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      parts = [];
      recorder = new MediaRecorder(stream);
      recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
      recorder.addEventListener("stop", () => {
        stream.getTracks().forEach((track) => track.stop());
        recorder = null;
        show();
        read(new Blob(parts), model.get("recording"));
      });
      recorder.start();
      setTimeout(end, 1000 * model.get("longest"));
    } catch (error) {
      recorder = null;
      refuse(model.get("microphone"), error);
    }
    show();
  });
  input.addEventListener("change", () => input.files[0] && read(input.files[0], input.files[0].name));
  model.on("change:label change:record change:stop change:rate", show);
  show();
  return () => {
    end();
    model.off("change:label change:record change:stop change:rate", show);
  };
}

export default { render };
