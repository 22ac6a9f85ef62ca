// Brings a part of the panel into view: its error, which may be below the window or above it, or its top.

function render({ model, el }) {
  el.style.display = "none";
  const soon = (action) => requestAnimationFrame(() => requestAnimationFrame(action));
  model.on("change:errors", () =>
    soon(() => {
      const panel = el.closest(".labkit-bench");
      const alert = [...(panel?.querySelectorAll('[role="alert"]') ?? [])].find((box) => box.offsetParent);
      alert?.scrollIntoView({ block: "nearest" });
    }),
  );
  model.on("change:top", () =>
    soon(() => {
      const panel = el.closest(".labkit-bench");
      if (panel && panel.getBoundingClientRect().top < 100) panel.scrollIntoView({ block: "start" });
    }),
  );
}

export default { render };
