// The theme lets the keyboard reach a box that scrolls, but measures only once, when folded parts
// have no size. Measure again when something is unfolded.
function measureScrollers() {
  document.querySelectorAll("pre, .cell_output > .output").forEach((box) => {
    box.tabIndex = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight ? 0 : -1;
  });
}

document.addEventListener("toggle", measureScrollers, true);
document.addEventListener("click", () => requestAnimationFrame(measureScrollers));
