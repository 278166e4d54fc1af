#!/bin/sh
# Usage: make_venv.sh VERSION DIRECTORY
# A fresh virtual environment of Python VERSION (such as 3.10) in DIRECTORY: from a Python on
# the PATH, from pyenv, or with uv, which can fetch one.
set -eu
version=$1
directory=$2

is_wanted() {
    "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null
}

for candidate in "python$version" python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python; do
    # A Debian Python may lack ensurepip: then the next candidate has its turn.
    if is_wanted "$candidate" && "$candidate" -m venv --clear "$directory"; then
        exit 0
    fi
done
if command -v uv >/dev/null; then
    uv python find "$version" >/dev/null 2>&1 || uv python install "$version"
    exec "$(uv python find "$version")" -m venv --clear "$directory"
fi
echo "Python $version is needed: install it, or install uv, which fetches it." >&2
exit 1
