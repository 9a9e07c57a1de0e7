// Sets the colours before the page is drawn, and whenever they change. The choice is "auto" (that of the system), "light"
// or "dark"; `data-theme` is "light" or "dark".
(function () {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let choice = "auto";
  try {
    choice = localStorage.getItem("theme") ?? "auto";
  } catch {
    // A browser that keeps nothing for this page: the colours of the system.
  }

  function show() {
    const colours = system.matches ? "dark" : "light";
    document.documentElement.dataset.theme = ["light", "dark"].includes(choice) ? choice : colours;
  }

  system.addEventListener("change", show);
  document.addEventListener("theme", (event) => {
    choice = event.detail;
    show();
  });
  show();
})();
