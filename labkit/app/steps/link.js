// A link to a file that lies beside the notebook, where the page knows how to reach it: JupyterLab and Notebook.

function render({ model, el }) {
  const link = document.createElement("a");
  link.className = "jupyter-button lk-link";
  const show = () => {
    const notebook = model.widget_manager?.context?.path, file = model.get("file");
    link.hidden = !file || notebook === undefined;
    if (link.hidden) return;
    const settings = JSON.parse(document.getElementById("jupyter-config-data")?.textContent ?? "{}");
    const path = [...notebook.replace(/^[A-Za-z]+:/, "").split("/").slice(0, -1), ...file.split("/")].filter(Boolean);
    link.href = `${settings.baseUrl ?? "/"}files/${path.map(encodeURIComponent).join("/")}`;
    link.download = path.at(-1);
    link.textContent = model.get("label");
  };
  model.on("change", show);
  show();
  el.append(link);
  return () => model.off("change", show);
}

export default { render };
