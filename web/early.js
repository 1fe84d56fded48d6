// @ts-check
// A classic script in the head: it sets the chosen theme before the first frame.
try {
  document.documentElement.dataset.theme = localStorage.getItem("recstream.theme") ?? "auto";
} catch {
  // No storage: the system's theme.
}
