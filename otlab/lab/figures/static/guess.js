/* A guess locks at the first choice and is told again wherever the chapter asks for it. Choices
 * live as long as the tab: a reload keeps them, a new tab starts afresh. */
(() => {
  const EVENT = "otlab-guess";
  const read = (name) => {
    try { return sessionStorage.getItem(name); } catch { return (window.otlabGuesses ?? {})[name]; }
  };
  const keep = (name, choice) => {
    window.otlabGuesses = { ...window.otlabGuesses, [name]: choice };
    try { sessionStorage.setItem(name, choice); } catch { /* no storage: kept in the page */ }
  };
  const said = (choice, answer) => choice === answer
    ? `You guessed “${choice}”, as measured.`
    : `You guessed “${choice}”; measured: “${answer}”.`;

  for (const box of document.querySelectorAll(".otlab-guess:not(.otlab-ready)")) {
    box.classList.add("otlab-ready");
    const { name, answer } = box.dataset;
    const told = box.querySelector(".otlab-told");
    const options = box.querySelector(".otlab-options");
    const fold = box.querySelector("details");
    const lock = (choice) => {
      told.textContent = said(choice, answer);
      if (!options) return;
      for (const button of options.children) {
        button.setAttribute("aria-pressed", String(button.textContent === choice));
        button.setAttribute("aria-disabled", "true");
        button.toggleAttribute("data-measured", button.textContent === answer);
      }
      box.classList.add("otlab-locked");
      fold.hidden = false;
      fold.open = true;
    };
    if (options) {
      options.hidden = false;
      fold.hidden = true;
      for (const button of options.children) {
        button.addEventListener("click", () => {
          if (read(name)) return;
          keep(name, button.textContent);
          window.dispatchEvent(new CustomEvent(EVENT, { detail: name }));
        });
      }
    }
    // A notebook may take cells off the page while they are out of sight: each box listens itself.
    window.addEventListener(EVENT, ({ detail }) => { if (detail === name) lock(read(name)); });
    if (read(name)) lock(read(name));
  }
})();
