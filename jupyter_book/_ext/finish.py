"""After Sphinx: lighter scripts, mended landmarks, the source notebooks, and a check of hosts."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from chapters import BookError, notebooks

# What a browser fetches by itself: script, img, link rel=stylesheet …, url(), @import.
LOADS = (
    re.compile(r"<(?:script|img|iframe|source|video|audio|embed|track)\b[^>]*?\bsrc\s*=\s*[\"']"
               r"([^\"']+)", re.I),
    re.compile(r"<link\b(?=[^>]*\brel\s*=\s*[\"'](?:stylesheet|icon|shortcut icon|preload|"
               r"preconnect|dns-prefetch|prefetch|modulepreload|manifest)[\"'])[^>]*?\bhref\s*=\s*"
               r"[\"']([^\"']+)", re.I),
)
STYLE_LOADS = re.compile(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", re.I)

# A rule of the theme's style sheet that gives one icon, under one or more names, its glyph.
ICON = re.compile(r'((?:\.fa-[a-z0-9-]+,?)+)\{--fa:"[^"]*"\}')
ICON_NAME = re.compile(r"fa-[a-z0-9-]+")


def finish(root: Path, out: Path) -> None:
    """Make the built pages light, accessible and self-contained.

    Raises:
        BookError: when a page would ask another host for something.
    """
    lighten(out)
    for page in out.rglob("*.html"):
        text = page.read_text("utf-8")
        mended = mend(text, searches=page.name == "search.html")
        if mended != text:
            page.write_text(mended, "utf-8")
    for notebook in notebooks(root):  # the download button gives the notebook as it is in git
        target = out / "_sources" / notebook.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(notebook, target)
    shutil.copyfile(out / "introduction.html", out / "index.html")
    (out / ".nojekyll").touch()  # GitHub Pages would drop _static otherwise
    foreign = outside(out)
    if foreign:
        raise BookError("pages ask other hosts: " + "; ".join(foreign[:8]))


def lighten(out: Path) -> None:
    """Without source maps, the 1.5 MB script that draws the icons again, and idle icon names."""
    script = out / "_static" / "scripts" / "fontawesome.js"
    if script.is_file():
        script.write_text("/* icons come from the web font */\n")
    theme = out / "_static" / "styles" / "pydata-sphinx-theme.css"
    if theme.is_file():
        used = {name for text in [*out.rglob("*.html"), *(out / "_static").rglob("*.js")]
                for name in re.findall(r"\bfa-[a-z0-9-]+", text.read_text("utf-8"))}
        theme.write_text(ICON.sub(lambda rule: rule[0] if used & set(ICON_NAME.findall(rule[1]))
                                  else "", theme.read_text("utf-8")), "utf-8")
    for extra in (out / "_static").rglob("*.map"):
        extra.unlink()
    for text in (out / "_static").rglob("*.js"):
        body = text.read_text("utf-8")
        shorter = re.sub(r"\n//# sourceMappingURL=\S+\s*$", "\n", body)
        if shorter != body:
            text.write_text(shorter, "utf-8")


# What axe-core finds in the theme's and in docutils' own markup, and what it becomes.
MENDED = (
    # The visible words of the search button must be part of its accessible name.
    ('search-button-field search-button__button pst-js-only" title="Search" aria-label="Search"',
     'search-button-field search-button__button pst-js-only" title="Search"'),
    # The arrow that opens a part of the contents has no words.
    ('<summary><span class="toctree-toggle" role="presentation">',
     '<summary aria-label="Show the pages of this part"><span class="toctree-toggle">'),
    # A list without list items.
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
)


SEARCH = re.compile(r'<script (?:defer )?'
                    r'(src="[^"]*(?:searchtools|language_data|searchindex)\.js"[^>]*>)(</script>)')


def mend(text: str, searches: bool) -> str:
    """A page with the known accessibility slips put right, and no script in its way.

    The theme gives every page the search index, a quarter of a megabyte that only the search page
    reads: it stays there, and waits for the text.
    """
    for wrong, right in MENDED:
        text = text.replace(wrong, right)
    return SEARCH.sub(r"<script defer \1\2" if searches else "", text)


def outside(out: Path) -> list[str]:
    """Every load from another host in pages and style sheets, as 'file: address'."""
    found = []
    for page in sorted(out.rglob("*.html")):
        text = re.sub(r"<(script|style)\b([^>]*)>.*?</\1>", r"<\1\2></\1>",
                      page.read_text("utf-8"), flags=re.S | re.I)
        for pattern in LOADS:
            found += [(page, address) for address in pattern.findall(text)]
    for sheet in sorted(out.rglob("*.css")):
        for pair in STYLE_LOADS.findall(sheet.read_text("utf-8")):
            found.append((sheet, pair[0] or pair[1]))
    return [f"{path.relative_to(out)}: {address}" for path, address in found
            if urlsplit(address).netloc and not address.startswith("data:")]
