// @ts-check
// A classic script in the head, so that the chosen colours are there before the first frame.
try {
  document.documentElement.dataset.theme = localStorage.getItem("recstream.theme") ?? "auto";
} catch {
  // No storage: the system's colours, until the visitor chooses others.
}
