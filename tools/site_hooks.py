"""What the site needs besides MkDocs: files from outside of docs/, notebooks, and formulas.

MkDocs calls these functions by their names; see `hooks` in mkdocs.yml.
"""

import html
import posixpath
import re
from pathlib import Path

import latex2mathml.converter
import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
# Linked to by the pages; on the site they are as if they were in docs/.
OUTSIDE = (
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "benchmarks/results"),
    *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("examples/*/results/*.html"))),
)
# Their tables get the room of the table of contents.
WIDE = ("reproductions.md", "adaptive_lstm.md", "support.md", "benchmarks/results/README.md")
LINK = re.compile(r"(!?\[([^\]]*)\]\()([^)#\s:]+)(#[^)\s]*)?\)")
WORD = re.compile(r"_\{([a-z]{3,})\}")  # a word as an index stands upright
LONG = re.compile(r"<td([^>]*)>(?=[^<]{80})")  # a cell of a table that begins with so many letters
CODE = re.compile(r"(<pre.*?</pre>|<code.*?</code>)", re.DOTALL)
PERCENT = re.compile(r"(?<=\d) (?=[%±])|(?<=±) ")  # no new line is to begin there
MATHS = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config):
    """Puts pages that mkdocs.yml gives no place behind the how-to guides, so that none is lost."""
    placed = str(config.nav)
    pages = sorted(Path(config.docs_dir).rglob("*.md"))
    names = [page.relative_to(config.docs_dir).as_posix() for page in pages]
    guides = next(part["How-to guides"] for part in config.nav if "How-to guides" in part)
    guides += [name for name in names if f"'{name}'" not in placed]
    return config


def on_files(files, config):
    """Adds the files from outside of docs/, and a page and its pictures for each notebook."""
    for name in OUTSIDE:
        path = ROOT / name
        for file in path.iterdir() if path.is_dir() else [path]:
            if file.suffix != ".json":
                place = file.relative_to(ROOT).as_posix()
                files.append(File.generated(config, place, abs_src_path=str(file)))
    for notebook in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        place = f"tutorials/{notebook.stem}"
        text, resources = MarkdownExporter().from_notebook_node(nbformat.read(notebook, 4))
        for name, content in resources["outputs"].items():
            text = text.replace(f"]({name})", f"]({notebook.stem}_{name})")
            files.append(File.generated(config, f"{place}_{name}", content=content))
        files.append(File.generated(config, f"{place}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Leads links to notebooks, and to files outside of docs/, to where these are on the site."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]
    folder = posixpath.dirname(page.file.src_uri)
    outside = not (Path(config.docs_dir) / page.file.src_uri).exists()

    def moved(match):
        start, text, target, anchor = match.groups()
        target = re.sub(r"\.ipynb$", ".md", target)
        place = posixpath.normpath(posixpath.join(folder, target))
        if place.startswith("../"):
            place = place.removeprefix("../")
        elif outside:
            place = re.sub(r"^docs/", "", place)
        elif target == match[3]:
            return match.group()
        if (ROOT / place).exists() and not place.startswith(OUTSIDE):
            return text  # source code is not on the site
        return f"{start}{posixpath.relpath(place, folder or '.')}{anchor or ''})"

    return LINK.sub(moved, markdown)


def on_page_content(content, page, config, files):
    """Turns LaTeX into MathML, which browsers draw without scripts; gives cells of tables room."""

    def formula(match):
        display = "inline" if match[2] == "(" else "block"
        latex = html.unescape(match[3]).strip().replace(r"\_", "_")
        latex = WORD.sub(r"_{\\text{\1}}", latex)
        return latex2mathml.converter.convert(latex, display=display)

    content = MATHS.sub(formula, content)
    texts = CODE.split(content)
    texts[::2] = (PERCENT.sub("\N{NO-BREAK SPACE}", text) for text in texts[::2])
    content = "".join(texts)
    # Browsers give columns of words that can be broken no room for their length.
    return LONG.sub(r'<td class="long"\1>', content)
