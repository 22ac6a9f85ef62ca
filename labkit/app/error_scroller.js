// Brings the error of a panel into view: it may be below the window or above it.

function render({ model, el }) {
  el.style.display = "none";
  model.on("change:count", () =>
    requestAnimationFrame(() => {
      const panel = el.closest(".labkit-bench");
      const alert = [...(panel?.querySelectorAll('[role="alert"]') ?? [])].find((box) => box.offsetParent);
      alert?.scrollIntoView({ block: "nearest" });
    }),
  );
}

export default { render };
