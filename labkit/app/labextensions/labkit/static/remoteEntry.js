// A tile in JupyterLab's launcher: it opens a notebook with one cell, lk.Lab(), and runs it.
// Written by hand as a module federation container: nothing has to be built.

(() => {
  const NAME = "labkit.ipynb";
  const CELL = "import labkit as lk\n\nlk.Lab()";
  const ICON =
    "data:image/svg+xml," +
    encodeURIComponent(
      '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="6" fill="#00639a"/>' +
        '<path d="M6 24 L13 15 L18 19 L26 8" fill="none" stroke="#fff" stroke-width="3" stroke-linejoin="round" ' +
        'stroke-linecap="round"/></svg>',
    );
  let scope = {};

  async function shared(name) {
    const [version] = Object.values(scope[name] ?? {});
    return version ? (await version.get())() : {};
  }

  function notebook() {
    const cell = { cell_type: "code", execution_count: null, id: "lab", metadata: {}, outputs: [], source: CELL };
    const kernelspec = { display_name: "Python 3 (ipykernel)", language: "python", name: "python3" };
    return { cells: [cell], metadata: { kernelspec, language_info: { name: "python" } }, nbformat: 4, nbformat_minor: 5 };
  }

  async function open(app, cwd) {
    const contents = app.serviceManager.contents;
    const path = cwd ? `${cwd}/${NAME}` : NAME;
    try {
      await contents.get(path, { content: false });
    } catch {
      await contents.save(path, { type: "notebook", format: "json", content: notebook() });
    }
    const panel = await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
    await panel?.context?.ready;
    await panel?.sessionContext?.ready;
    await app.commands.execute("notebook:run-all-cells");
    return panel;
  }

  async function plugins() {
    const { ILauncher } = await shared("@jupyterlab/launcher");
    const { ICommandPalette } = await shared("@jupyterlab/apputils");
    return {
      id: "labkit:launcher",
      description: "Adds a tile that opens the lab panel.",
      autoStart: true,
      optional: [ILauncher, ICommandPalette].filter(Boolean),
      activate: (app, launcher, palette) => {
        const command = "labkit:open";
        app.commands.addCommand(command, {
          label: "labkit",
          caption: "Train a model by clicks · 用鼠标训练模型",
          execute: (args) => open(app, args.cwd ?? ""),
        });
        launcher?.add({ command, category: "labkit", rank: 0, kernelIconUrl: ICON });
        palette?.addItem({ command, category: "labkit" });
      },
    };
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.labkit = {
    init: (given) => {
      scope = given;
    },
    get: async () => {
      const found = await plugins();
      return () => ({ __esModule: true, default: found });
    },
  };
})();
