// A heading's button sorts its table; figures by value, the greatest first; empty cells come last.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const isFigure = heading.classList.contains("figure");
      const first = isFigure ? "descending" : "ascending";
      const second = isFigure ? "ascending" : "descending";
      const order = heading.getAttribute("aria-sort") === first ? second : first;
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [left, right] = [key(a), key(b)];
        if (left === "" || right === "") return (left === "") - (right === "");
        if (isFigure) return sign * (Number(left) - Number(right));
        return sign * left.localeCompare(right, undefined, { numeric: true });
      };
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    });
  });
}
