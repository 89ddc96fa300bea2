# shellcheck shell=bash
# What the scripts of this folder share: words, and tools that are installed when they are missing.

# say WHO WORDS…
say() { printf '%s: %s\n' "$1" "${*:2}"; }

# die WHO WORDS…
die() {
    printf '%s: %s\n' "$1" "${*:2}" >&2
    exit 1
}

# Run a command as root; fails when this user may not.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# install_tools WHO PACKAGE…: by apt, unless LUMILIO_NO_APT is set
install_tools() {
    local who=$1 log
    shift
    if [[ -n ${LUMILIO_NO_APT:-} ]] || ! command -v apt-get >/dev/null || ! as_root true; then
        die "$who" "install $*, and run this again"
    fi
    say "$who" "installing the system packages $*"
    log=$(mktemp)
    local apt=(env DEBIAN_FRONTEND=noninteractive "PATH=$PATH:/usr/sbin:/sbin" apt-get -q -y -o DPkg::Lock::Timeout=300)
    if ! as_root "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 </dev/null &&
        ! { as_root "${apt[@]}" update >"$log" 2>&1 </dev/null &&
            as_root "${apt[@]}" install --no-install-recommends "$@" >"$log" 2>&1 </dev/null; }; then
        tail -n 20 -- "$log" >&2
        rm -f -- "$log"
        die "$who" "the system packages $* cannot be installed"
    fi
    rm -f -- "$log"
}

# need_tools WHO COMMAND:PACKAGE…
need_tools() {
    local who=$1 one missing=()
    shift
    for one in "$@"; do
        command -v -- "${one%%:*}" >/dev/null || missing+=("${one##*:}")
    done
    [[ ${#missing[@]} -eq 0 ]] || install_tools "$who" "${missing[@]}"
}
