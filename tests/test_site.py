"""The site of the documentation is built without a warning, and needs no network."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import keras_spiking_rnn
import lava_export
from tools import site_hooks

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("site")  # one build for all


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=300, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site):
    pages = {path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")}
    pages |= {path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.ipynb")}
    assert len(pages) > 30
    assert [page for page in pages if not (site / page.with_suffix(".html")).exists()] == []


def test_nothing_is_fetched(site):
    """Pages link to others' sites, but load nothing from them."""
    loaded = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"(?:https?:)?//", re.I)
    assert [page.name for page in site.rglob("*.html") if loaded.search(page.read_text())] == []


def test_formulas_are_mathml(site):
    page = (site / "models" / "rlif.html").read_text()
    assert "<math" in page and "arithmatex" not in page
    assert "<mtext>thres</mtext>" in page  # a word as an index stands upright
    assert r"\_" not in re.sub(r"<pre.*?</pre>|<code.*?</code>", "", page, flags=re.DOTALL)


def test_notebooks_show_their_pictures(site):
    for notebook in ROOT.glob("docs/tutorials/*.ipynb"):
        page = (site / "tutorials" / f"{notebook.stem}.html").read_text()
        pictures = re.findall(r'src="([^"]+\.png)"', page)
        assert pictures
        assert all((site / "tutorials" / picture).exists() for picture in pictures)


def test_files_from_outside_of_docs_are_linked(site):
    page = (site / "benchmarks.html").read_text()
    assert 'href="benchmarks/results/index.html"' in page
    assert (site / "benchmarks" / "results" / "growth.png").exists()


def test_reports_of_the_chip_are_linked(site):
    page = (site / "reproductions.html").read_text()
    reports = re.findall(r'href="(examples/[^"]+\.html)"', page)
    assert len(reports) == len(list(ROOT.glob("examples/*/results/*.html"))) > 0
    assert all("Parity report" in (site / report).read_text() for report in reports)


def test_docstrings_are_in_the_reference(site):
    page = (site / "reference" / "layers.html").read_text()
    assert 'id="keras_spiking_rnn.RLIF"' in page and "zero_output_for_mask" in page
    page = (site / "reference" / "distributed.html").read_text()
    # A text of two lines is one.
    assert "in the order of their ranks; or <code>None</code> outside of\nSlurm." in page


@pytest.mark.parametrize(
    "package", [keras_spiking_rnn, lava_export], ids=lambda each: each.__name__
)
def test_all_that_is_exported_is_in_the_reference(site, package):
    pages = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    there = {place.split(".")[-1] for place in re.findall(r'id="([\w.]+)"', pages)}
    names = [name for name in package.__all__ if not isinstance(getattr(package, name), ModuleType)]
    assert len(names) > 15
    assert set(names) - there == set()


def test_long_cells_of_tables_have_room():
    row = "<tr><td>short</td><td>{}</td></tr>"
    for length, marks in ((79, 0), (80, 1)):
        found = site_hooks.on_page_content(
            row.format("a " * (length // 2) + "b" * (length % 2)), *[None] * 3
        )
        assert found.count('<td class="long">') == marks


def test_percents_are_not_torn_apart_but_in_code():
    given = "<p>9 %</p><pre>7 %</pre><td>9.5 ± 1 %, 8 %</td><code>9 % 2</code> 3 %"
    expected = given.replace("9.5 ± 1 %", "9.5_±_1_%").replace("8 %", "8_%")
    expected = expected.replace("<p>9 %", "<p>9_%").replace(" 3 %", " 3_%")
    found = site_hooks.on_page_content(given, *[None] * 3)
    assert found == expected.replace("_", "\u00a0")


def test_the_colours_follow_the_system_until_a_reader_chooses(site):
    """Material stores at the first visit which of them is chosen, and keeps to it."""
    page = (site / "index.html").read_text()
    media = re.findall(r'data-md-color-media="([^"]*)"', page)
    dark, light = "(prefers-color-scheme: dark)", "(prefers-color-scheme: light)"
    assert media[0] == "(prefers-color-scheme)" and sorted(media[1:]) == [dark, light]


@pytest.mark.parametrize(
    "place, markdown, expected",
    [
        (
            "speed.md",
            "[a](../benchmarks/results/README.md#b)",
            "[a](benchmarks/results/README.md#b)",
        ),
        ("models/src.md", "[code](../../examples/src/chip.py)", "code"),
        ("models/src.md", "[here](rlif.md#traps)", "[here](rlif.md#traps)"),
        ("CONTRIBUTING.md", "[a page](docs/speed.md)", "[a page](speed.md)"),
        ("tutorials/index.md", "[a](first_network.ipynb)", "[a](first_network.md)"),
        ("speed.md", "[out](https://example.org/a)", "[out](https://example.org/a)"),
    ],
)
def test_links_from_docs_to_the_repository(place, markdown, expected):
    page = SimpleNamespace(file=SimpleNamespace(src_uri=place), meta={})
    config = SimpleNamespace(docs_dir=ROOT / "docs")
    assert site_hooks.on_page_markdown(markdown, page, config, None) == expected


def test_a_page_without_a_place_is_behind_the_guides(tmp_path):
    for name in ("index.md", "new.md"):
        (tmp_path / name).touch()
    nav = [{"Home": "index.md"}, {"How-to guides": ["other.md"]}]
    site_hooks.on_config(SimpleNamespace(docs_dir=tmp_path, nav=nav))
    assert nav[1] == {"How-to guides": ["other.md", "new.md"]}
