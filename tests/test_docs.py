"""The documentation does what it shows."""

import re
from pathlib import Path

import pytest
from mktestdocs import check_md_file

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_md_file(page, memory=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose)
    missing = [
        target
        for target in targets
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert missing == []


def test_links_into_pages_lead_to_headings():
    """Those of the README, as GitHub makes anchors; MkDocs checks those of the site."""
    links = re.findall(r"\]\(([^)#\s]+\.md)#([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))
    anchors = {
        page: [
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
            for heading in re.findall(r"^#+ (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        ]
        for page, _ in links
    }
    assert links
    assert [(page, anchor) for page, anchor in links if anchor not in anchors[page]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_programs_exist_and_know_their_options(page):
    """Of `python -m MODULE --option`, in the sources of the module and those that it shares."""
    text = page.read_text(encoding="utf-8").replace("\n", " ")
    unknown = []
    for module, rest in re.findall(r"python -m ((?:\w+\.)*\w+)((?: +[\w./,*-]+)*)", text):
        if not (ROOT / module.split(".")[0]).exists():
            continue  # of another package, such as pip
        path = ROOT.joinpath(*module.split("."))
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        shared = [ROOT / "examples" / "experiment.py", *file.parent.glob("*.py")]
        source = "".join(each.read_text(encoding="utf-8") for each in shared)
        options = re.findall(r"--[a-z][\w-]*", rest.split(" python ")[0])
        unknown += [] if file.exists() else [module]
        unknown += [(module, option) for option in options if f'"{option}"' not in source]
    assert unknown == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_exist(page):
    named = re.findall(r"^make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
