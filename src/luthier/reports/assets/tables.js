// A click on a heading sorts its table; a second click turns the order round.
for (const head of document.querySelectorAll("th")) {
  head.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent;
    const numbers = head.classList.contains("number");
    const compare = (a, b) => (numbers ? (Number(key(a)) || 0) - (Number(key(b)) || 0) : key(a).localeCompare(key(b)));
    for (const row of [...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a)))) body.append(row);
  });
}
