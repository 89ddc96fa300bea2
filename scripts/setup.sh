#!/usr/bin/env bash
# Make .venv in this checkout: Python, the locked packages, this project, and the system tools it
# uses. Quick when nothing changed. Environment:
#   PYTHON           the interpreter; else the first of python3, python3.13, 3.12, 3.11 that is 3.11 or newer
#   LUMILIO_EXTRAS   "systemd" adds structured journal entries (builds a C module)
#   LUMILIO_NO_APT   when set, no system package is installed
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
extras=" ${LUMILIO_EXTRAS:-} "
extras="${extras//,/ }"

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
        if [[ -n $candidate ]] && is_new_enough "$candidate"; then
            # not the one of an activated environment, which may be the very .venv that is made anew
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", "") or sys.executable)'
            return
        fi
    done
    die "Python 3.11 or newer is needed (found: $(python3 --version 2>&1 || echo none)); install python3, or set PYTHON"
}

# Run apt-get as root; fails when this user may not.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

may_install() {
    [[ -z ${LUMILIO_NO_APT:-} ]] && command -v apt-get >/dev/null && as_root true
}

# Install Debian packages; the package lists are only fetched when they do not know one of them.
apt_install() {
    local log
    may_install || return 1
    say "installing the system packages $*"
    log=$(mktemp)
    local apt=(env DEBIAN_FRONTEND=noninteractive "PATH=$PATH:/usr/sbin:/sbin" apt-get -q -y -o DPkg::Lock::Timeout=300)
    if as_root "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 </dev/null ||
        { as_root "${apt[@]}" update >"$log" 2>&1 </dev/null &&
            as_root "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 </dev/null; }; then
        rm -f -- "$log"
        return 0
    fi
    tail -n 20 -- "$log" >&2
    rm -f -- "$log"
    return 1
}

# Run pip quietly, once more when it failed; its errors in full, not its warnings.
pip_run() {
    local log attempt
    log=$(mktemp)
    for attempt in 1 2; do
        if .venv/bin/python -m pip "$@" >"$log" 2>&1 </dev/null; then
            rm -f -- "$log"
            return 0
        fi
        if [[ $attempt -eq 1 ]] && grep -qiE 'connection|timed? ?out|temporary failure|network|remote end|ssl' "$log"; then
            say "the network failed, trying once more"
            sleep 3
        else
            break
        fi
    done
    grep -v '^WARNING: ' "$log" >&2 || true
    rm -f -- "$log"
    die "pip $1 failed; what it said is above"
}

python=$(find_python)
version=$("$python" -c 'import sys; print("%d.%d.%d %s" % (*sys.version_info[:3], sys.base_prefix))')
stamp=$(cat requirements.lock pyproject.toml scripts/systemd.lock <(echo "$version $PWD $extras") | sha256sum | cut -d' ' -f1)

# One set-up of a checkout at a time.
if command -v flock >/dev/null; then
    exec 9<requirements.lock
    flock 9
fi

if ! command -v exiftool >/dev/null && ! apt_install libimage-exiftool-perl; then
    say "without exiftool the metadata of files is degraded; install libimage-exiftool-perl (Debian) to have all of it"
fi

if [[ -x .venv/bin/python && -x .venv/bin/lumiliod && $(cat .venv/.lumilio-stamp 2>/dev/null) == "$stamp" ]]; then
    exit 0
fi

started=$SECONDS
say "using Python ${version%% *} ($python)"
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=python3-venv
    [[ $python == /usr/bin/python3* ]] || package=python${version%.*}-venv
    apt_install "$package" || die "python3 cannot make a virtual environment; install $package and run this again"
    "$python" -c 'import ensurepip, venv' || die "python3 still cannot make a virtual environment after installing $package"
fi

if [[ $extras == *" systemd "* ]] && ! { command -v gcc && command -v pkg-config && pkg-config --exists libsystemd; } >/dev/null; then
    apt_install gcc pkg-config libsystemd-dev python3-dev ||
        die "the extra systemd needs gcc, pkg-config, libsystemd-dev and python3-dev; install them and run this again"
fi

wanted=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.base_prefix)')
if [[ -e .venv ]] && ! { [[ -x .venv/bin/python ]] &&
    [[ $(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.base_prefix)' 2>/dev/null) == "$wanted" ]] &&
    [[ ! -e .venv/.lumilio-home || $(<.venv/.lumilio-home) == "$PWD" ]] &&
    .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "making .venv anew: it is broken, moved, or of another Python"
    rm -rf -- .venv
fi
if [[ ! -e .venv ]]; then
    say "making .venv"
    "$python" -m venv .venv
    echo "$PWD" >.venv/.lumilio-home
fi
rm -f -- .venv/.lumilio-stamp

say "installing the locked packages (a few minutes the first time)"
# The lock is complete, so nothing is to be resolved: pip's resolver would look past it for packages with extras.
pip_run install --require-hashes --no-deps -r requirements.lock
if [[ $extras == *" systemd "* ]]; then
    say "building systemd-python"
    pip_run install setuptools wheel
    pip_run install --require-hashes --no-deps --no-build-isolation -r scripts/systemd.lock
fi
say "installing this project"
pip_run install --no-deps --no-build-isolation -e .
pip_run check
echo "$stamp" >.venv/.lumilio-stamp
say "done in $((SECONDS - started)) s"
