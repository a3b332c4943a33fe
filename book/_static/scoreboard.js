// Lets readers choose among the rows of the scoreboard; without it the whole table is shown.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("table.scoreboard");
  if (!table) return;
  const form = document.querySelector(".scoreboard-filters");
  const told = document.getElementById("scoreboard-count");
  const rows = [...table.tBodies[0].rows];
  const filters = [...form.querySelectorAll("[data-filter]")];

  const fits = (row, { dataset: { filter }, value }) =>
    !value ||
    (filter === "words"
      ? value.toLowerCase().split(/\s+/).every((word) => row.textContent.toLowerCase().includes(word))
      : row.dataset[filter] === value);

  const choose = () => {
    for (const row of rows) row.hidden = !filters.every((filter) => fits(row, filter));
    const shown = rows.filter((row) => !row.hidden).length;
    told.textContent = shown === rows.length ? `${shown} claims` : `${shown} of ${rows.length} claims`;
    const chosen = filters.filter((f) => f.value).map((f) => [f.dataset.filter, f.value]);
    history.replaceState(null, "", chosen.length ? `#${new URLSearchParams(chosen)}` : location.pathname);
  };

  // A link such as scoreboard.html#verdict=not+reproduced opens with that choice.
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const filter of filters) {
    filter.value = asked.get(filter.dataset.filter) || "";
    if (filter.selectedIndex === -1) filter.selectedIndex = 0; // asked for what is not offered
  }
  form.hidden = false;
  form.addEventListener("input", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  choose();
});
