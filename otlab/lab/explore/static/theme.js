/* Light or dark: the roles, their colours and shapes, as the style sheet sets them. */

/** The page's own choice of light or dark, before the reader's system. */
export function isDark() {
  const lab = document.body && document.body.dataset.jpThemeLight;
  if (lab) return lab === "false";
  const theme = document.documentElement.dataset.theme;
  if (theme === "dark" || theme === "light") return theme === "dark";
  return window.matchMedia("(prefers-color-scheme: dark)").matches;
}

const ROLES = ["source", "target", "transported", "baseline", "plan"];
export const SHAPES = {
  source: "circle", target: "triangle", transported: "diamond", baseline: "square", plan: "dot",
};

/** Colours and font of a figure as its style sheet gives them now. */
export function readTheme(root) {
  const css = getComputedStyle(root);
  const get = (name) => css.getPropertyValue("--ox-" + name).trim();
  const theme = { font: css.fontFamily, text: {}, dark: root.classList.contains("ox-dark") };
  for (const name of [...ROLES, "ink", "muted", "grid", "axis", "surface"]) theme[name] = get(name);
  for (const role of ROLES) theme.text[role] = get(role + "-text");
  return theme;
}
