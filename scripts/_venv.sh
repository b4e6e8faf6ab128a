# Sourced by the other scripts: makes .venv with the project installed in it, once per pyproject.toml.
# EDGE_PYTHON names the interpreter (default python3).

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${EDGE_PYTHON:-python3}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || {
    echo "error: $("$python" --version 2>&1) cannot run this SDK: it needs Python 3.11 to 3.13." \
        "Name one with EDGE_PYTHON=python3.12 $0" >&2
    exit 2
}

DEV_EXTRAS=dev,keras,torch,openvino # what the tests need

# make_venv EXTRAS: installs '.[EXTRAS]' into .venv unless this pyproject.toml was installed with them before
make_venv() {
    local extras=$1 stamp
    stamp="$("$python" --version) [$extras] $(cat pyproject.toml scripts/constraints.txt | cksum)"
    if [ "$(cat .venv/edge-stamp 2>/dev/null)" != "$stamp" ]; then
        echo "Setting up .venv (a minute the first time) ..." >&2
        "$python" -m venv .venv || {
            echo "error: $python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
            exit 2
        }
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint scripts/constraints.txt \
            --editable ".${extras:+[$extras]}" || {
            echo "error: pip could not install the project; its message is above" >&2
            exit 2
        }
        echo "$stamp" > .venv/edge-stamp
    fi
    PATH="$PWD/.venv/bin:$PATH"
}
