// Runs before anything is painted, so that a chosen theme does not flash the other one first.
document.documentElement.classList.add('js');
try {
  const theme = localStorage.getItem('weir.theme');
  if (theme == 'light' || theme == 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: then the system's theme it is.
}
